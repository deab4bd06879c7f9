// Every part of a small Kubernetes that is written in Go, and the store below it, in one program: its first argument says
// which part to be, and the rest are that part's own flags. It owns nothing but that choice.
package main

import (
	"context"
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	parts := map[string]func() int{
		"etcd": func() int {
			// Two of these are laid out at once, and here in memory. By default each has 64 MiB.
			wal.SegmentSizeBytes = 4 << 20
			etcdmain.Main(os.Args)
			return 0
		},
		"apiserver": func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
		"manager":   func() int { return cli.Run(manager.NewControllerManagerCommand()) },
		"scheduler": func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
		"kubelet":   func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	}
	if len(os.Args) < 2 || parts[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: parts etcd|apiserver|manager|scheduler|kubelet FLAGS")
		os.Exit(2)
	}
	part := parts[os.Args[1]]
	os.Args = os.Args[1:]
	os.Exit(part())
}
