"""`make demo`: applies examples/quickstart, shows what happens until a model is served, and asks it about a digit that it has never seen."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart"
KUBECONFIG = ROOT / ".cluster" / "kubeconfig"
NAMESPACE = "vision"
LIMIT_SECONDS = 900
SAMPLE = """import json, numpy
held_out = numpy.load("/data/digits/test.npz")
print(json.dumps({"x": held_out["x"][0].tolist(), "y": int(held_out["y"][0])}))"""


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints; its words on standard error end the demo if it fails."""
    binary = next((path for path in (ROOT / ".cluster" / "bin" / "kubectl",) if path.exists()), Path("kubectl"))
    command = [str(binary), "--kubeconfig", str(KUBECONFIG), *arguments]
    ran = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)}\n{ran.stderr.strip()}")
    return ran.stdout


def read(kind: str, name: str, *scope: str) -> dict[str, Any]:
    """The object, or an empty one while it does not exist."""
    text = kubectl("get", kind, name, *scope, "-o", "json", "--ignore-not-found")
    return dict(json.loads(text)) if text.strip() else {}


def summary(resource: dict[str, Any], type: str) -> dict[str, str]:
    """The condition that sums up the object."""
    conditions = resource.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == type), {})


def wait(title: str, look: Callable[[], tuple[bool, str]]) -> None:
    """Prints what `look` says, each time it says something new, until it is done."""
    began, said = time.monotonic(), ""
    while True:
        done, now = look()
        if now != said:
            print(f"  {time.monotonic() - began:5.0f} s  {title}: {now}", flush=True)
            said = now
        if done:
            return
        if time.monotonic() - began > LIMIT_SECONDS:
            sys.exit(f"{title} is not done after {LIMIT_SECONDS} s; it says: {now}")
        time.sleep(1)


def workspace() -> tuple[bool, str]:
    ready = summary(read("workspace", NAMESPACE), "Ready")
    return ready.get("status") == "True", ready.get("message", "waiting for the operator")


def data() -> tuple[bool, str]:
    job = read("job", "digits-data", "-n", NAMESPACE)
    done = bool(job.get("status", {}).get("succeeded"))
    return done, "written to pvc://noria-artifacts/data/digits" if done else "being written"


def training() -> tuple[bool, str]:
    job = read("trainingjob", "digits", "-n", NAMESPACE)
    succeeded, progress = summary(job, "Succeeded"), job.get("status", {}).get("progress") or {}
    if succeeded.get("status") == "False":
        sys.exit(f"the training failed: {succeeded['message']}")
    steps = (
        f", step {progress['step']} of {progress['total']}, loss {progress.get('loss', 0):.3f}"
        if progress.get("total")
        else ""
    )
    return succeeded.get("status") == "True", succeeded.get("message", "waiting for the operator") + steps


def endpoint() -> tuple[bool, str]:
    found = read("modelendpoint", "digits", "-n", NAMESPACE)
    ready, latest = summary(found, "Ready"), summary(found, "UpToDate")
    done = ready.get("status") == "True" and latest.get("status") == "True"
    return done, (ready if ready.get("status") != "True" else latest).get("message", "waiting for the operator")


def gateway() -> str:
    """Address of the gateway's Service."""
    services = json.loads(
        kubectl("get", "services", "-A", "-l", "gateway.envoyproxy.io/owning-gateway-name=noria", "-o", "json")
    )
    return str(services["items"][0]["spec"]["clusterIP"])


def predict(url: str, x: list[float]) -> dict[str, Any]:
    """The answer of the Endpoint, asked through the gateway."""
    host = url.removeprefix("http://")
    request = urllib.request.Request(
        f"http://{gateway()}/v1/models/digits:predict",
        data=json.dumps({"instances": [x]}).encode(),
        headers={"Host": host, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def held_out() -> dict[str, Any]:
    """The first sample of the test set, which the training never read: a pod reads it from the claim."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "digits-sample", "namespace": NAMESPACE},
        "spec": json.loads(kubectl("get", "job", "digits-data", "-n", NAMESPACE, "-o", "json"))["spec"]["template"][
            "spec"
        ],
    }
    pod["spec"]["restartPolicy"] = "Never"
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", SAMPLE]
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "pod/digits-sample", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    sample = json.loads(kubectl("logs", "digits-sample", "-n", NAMESPACE))
    kubectl("delete", "pod", "digits-sample", "-n", NAMESPACE, "--wait=false")
    return dict(sample)


def picture(x: list[float]) -> str:
    """Eight rows of eight pixels as characters."""
    shades = " .:-=+*#%@"
    rows = [x[start : start + 8] for start in range(0, 64, 8)]
    return "\n".join("    " + "".join(shades[min(9, int(value / 16 * 9.99))] * 2 for value in row) for row in rows)


def main() -> None:
    print("Applying examples/quickstart")
    kubectl("apply", "-f", str(QUICKSTART / "00-workspace.yaml"))
    wait("Workspace vision", workspace)
    kubectl("apply", "-f", str(QUICKSTART))
    wait("Job digits-data", data)
    wait("TrainingJob digits", training)
    wait("Endpoint digits", endpoint)
    sample = held_out()
    url = read("modelendpoint", "digits", "-n", NAMESPACE)["status"]["url"]
    answer = predict(url, sample["x"])
    print(f"\nA digit that the training has not seen:\n{picture(sample['x'])}")
    print(
        f"    {url}/v1/models/digits:predict answers {json.dumps(answer['predictions'][0])}; the truth is {sample['y']}\n"
    )
    print("$ kubectl get noria -n vision\n" + kubectl("get", "noria", "-n", NAMESPACE))
    print(f"""Next:
    export KUBECONFIG={KUBECONFIG}
    kubectl get mv -n vision -o yaml                      # the model's digest, signature, metrics and lineage
    kubectl explain trainingjob.spec                      # every field, with its unit and default
    kubectl apply -f examples/training/own-script.yaml    # a plain PyTorch script
    make down                                             # ends the cluster""")


if __name__ == "__main__":
    main()
