// Package main runs the etcd server: its own module's main may not be built
// from outside, because its go.mod replaces its sibling modules by folders.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
