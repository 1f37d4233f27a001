// Package main runs the NetworkPolicy evaluator of sigs.k8s.io/kube-network-policies as a plain process of a node:
// its own main accepts only a pod's service account. Which packets it is asked about is not its own nftables rules
// (a kernel without NFT_QUEUE refuses them) but iptables rules that policy.py makes.
package main

import (
	"context"
	"flag"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	node := flag.String("node", "", "the name of the node that this process runs on")
	queue := flag.Int("queue", 100, "the netfilter queue that packets come from")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatalf("kubeconfig: %v", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		klog.Fatalf("client: %v", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		// NRIdisabled must stay false: with true, v0.8.0 follows a nil pointer at the first address that is no pod's.
		networkpolicy.Config{QueueID: *queue, NodeName: *node, NFTableName: "noria-network-policies"})
	if err != nil {
		klog.Fatalf("controller: %v", err)
	}
	factory.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		klog.Fatalf("run: %v", err)
	}
}
