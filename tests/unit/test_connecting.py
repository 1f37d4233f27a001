"""By which way the API server is asked: the same for our requests and for kopf's watches."""

from pathlib import Path

import pytest
import yaml

from noria.runtime.cluster import Cluster


@pytest.mark.parametrize(
    ("variables", "own", "way"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://outside:3128"}, None, "http://outside:3128"),
        ({"HTTPS_PROXY": "http://outside:3128", "NO_PROXY": ".inside"}, None, None),
        ({"HTTPS_PROXY": "http://outside:3128"}, "http://its-own:3128", "http://its-own:3128"),
        ({"HTTP_PROXY": "http://outside:3128"}, None, None),
    ],
)
async def test_a_proxy_is_the_kubeconfig_s_own_or_that_of_the_environment(
    variables: dict[str, str], own: str | None, way: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"server": "https://api.inside:6443"} | ({"proxy-url": own} if own else {})
    written = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (path := tmp_path / "kubeconfig").write_text(yaml.safe_dump(written))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in {"KUBECONFIG": str(path), **variables}.items():
        monkeypatch.setenv(name, value)
    connected = await Cluster.connect()
    try:
        assert (await connected.credentials()).proxy_url == way
    finally:
        await connected.close()
