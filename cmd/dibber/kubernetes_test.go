//go:build containers_image_openpgp

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// fromEnvironment are variables of this machine that builds in pods need as well.
var fromEnvironment = []string{"DIB_DISTRIBUTION_MIRROR", "DIB_DEBIAN_SECURITY_MIRROR"}

// TestKubernetesScripts builds images in the pods of a cluster, which make
// test-kubernetes starts. In each script
//
//	k ARGUMENT...   is kubectl
//	contrib         holds contrib/kubernetes
//	node            is a component that fits the manifests to the cluster
//	ended NAME      waits for the pod NAME to end and prints what it said
//	$NODE           is a directory of the node, of the script's own
//
// and its objects lie in the namespace of its own name.
func TestKubernetesScripts(t *testing.T) {
	cluster := os.Getenv("DIBBER_KUBERNETES")
	if cluster == "" {
		t.Skip("builds in pods of a cluster run by make test-kubernetes")
	}
	cluster, err := filepath.Abs(cluster)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := filepath.Abs("testdata/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/kubernetes",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PATH", strings.Join([]string{cluster, tools, env.Getenv("PATH"), "/usr/sbin", "/sbin"}, ":"))
			env.Setenv("NODE", env.WorkDir+"/node-files")
			env.Setenv("DIBBER_CLUSTER", os.Getenv("DIBBER_CLUSTER"))
			return errors.Join(
				os.CopyFS(env.WorkDir+"/contrib", os.DirFS(cluster+"/../../contrib/kubernetes")),
				os.CopyFS(env.WorkDir+"/node", os.DirFS(tools+"/node")),
				os.WriteFile(env.WorkDir+"/node/environment", []byte(lent()), 0o644),
				os.CopyFS(env.WorkDir+"/node-files/elements", os.DirFS("testdata/elements")),
				openUp(env))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// lent gives the variables as a file of NAME=VALUE.
func lent() string {
	var b strings.Builder
	for _, name := range fromEnvironment {
		if value, ok := os.LookupEnv(name); ok {
			b.WriteString(name + "=" + value + "\n")
		}
	}
	return b.String()
}
