package svcmap_test

import (
	"maps"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/svcmap"
)

// The two cases of diskimage-builder's own test of svc-map: three elements, one
// after the other, on one distribution and on another.
func TestElementsAreMergedOneAfterTheOther(t *testing.T) {
	files := []string{
		"compute-api: {debian: compute-api, default: cloud-compute-api}\ncompute-auth: {debian: compute-console, default: cloud-compute-console}\n",
		"image-api: {debian: image-api, default: cloud-image-api}\n",
		"volume-api: {debian: volume-api, default: cloud-volume-api}\nvolume-scheduler: {debian: volume-scheduler, default: cloud-volume-scheduler}\n",
	}
	for distro, want := range map[string]svcmap.Map{
		"fedora": {"compute-api": "cloud-compute-api", "compute-auth": "cloud-compute-console", "image-api": "cloud-image-api",
			"volume-api": "cloud-volume-api", "volume-scheduler": "cloud-volume-scheduler"},
		"ubuntu": {"compute-api": "compute-api", "compute-auth": "compute-console", "image-api": "image-api",
			"volume-api": "volume-api", "volume-scheduler": "volume-scheduler"},
	} {
		for n, more := range []int{2, 3, 5} {
			got, err := svcmap.Merge(sources(t, files[:n+1]...), distro)
			if err != nil || len(got) != more {
				t.Errorf("%s: %v, %v", distro, got, err)
			}
			if n == 2 && !maps.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", distro, got, want)
			}
		}
	}
}

func TestFilesComeToWhatDiskimageBuildersOwnCodeMakesOfThem(t *testing.T) {
	checkout, python := judge.Checkout(t), judge.Python(t, "yaml")
	sets := [][]string{
		{"s: {suse: x, redhat: y}\nt: {}\nu: {gentoo: z, default: d}\n"},
		{"s: {debian: a, ubuntu: b, fedora: c, default: d}\n", "t: {redhat: e, suse: f}\n", "u: {default: g, debian: h}\n"},
		{"s: {default: a}\n", "s: {default: a}\n"},
		{"s: {debian: a}\ns: {debian: b}\n"},
		{"s: {rocky: a, almalinux: b, default: c, family: d}\n"},
	}
	type question struct {
		Files  []string `json:"files"`
		Distro string   `json:"distro"`
	}
	var questions []question
	for _, files := range sets {
		for _, distro := range []string{"debian", "ubuntu", "fedora", "centos", "rhel", "rocky", "opensuse", "gentoo", ""} {
			questions = append(questions, question{files, distro})
		}
	}
	var answers []struct {
		Services svcmap.Map
		Error    string
	}
	judge.Ask(t, python, 0, questions, &answers, "testdata/upstream.py", checkout)
	for i, a := range answers {
		got, err := svcmap.Merge(sources(t, questions[i].Files...), questions[i].Distro)
		if (err != nil) != (a.Error != "") || err == nil && !maps.Equal(got, a.Services) {
			t.Errorf("%v: here %v %v, upstream %v %s", questions[i], got, err, a.Services, a.Error)
		}
	}
}
