package fstab

import (
	"reflect"
	"testing"
)

func TestLinesAreReadAsMountReadsThem(t *testing.T) {
	got := Parse("# a comment\n\nLABEL=cloudimg-rootfs / ext4 defaults 0 1\n  UUID=\"ab-cd\"\t/srv/my\\040data xfs rw,noatime\n" +
		"/dev/vg/swap none swap sw\nbroken line\n/dev/a=b \\/x\\04 auto defaults,x-systemd.automount 0")
	want := []Line{
		{"LABEL=cloudimg-rootfs", "/", "ext4", []string{"defaults"}},
		{`UUID="ab-cd"`, "/srv/my data", "xfs", []string{"rw", "noatime"}},
		{"/dev/vg/swap", "none", "swap", []string{"sw"}},
		{"/dev/a=b", `\/x\04`, "auto", []string{"defaults", "x-systemd.automount"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestASpecIsATagOrAPath(t *testing.T) {
	for spec, want := range map[string][2]string{
		"LABEL=root": {"LABEL", "root"}, "uuid=\"ab\"": {"UUID", "ab"}, "PARTUUID=x=y": {"PARTUUID", "x=y"},
		"/dev/sda1": {"", "/dev/sda1"}, "/dev/a=b": {"", "/dev/a=b"}, "tmpfs": {"", "tmpfs"},
	} {
		if name, value := (Line{Spec: spec}).Tag(); name != want[0] || value != want[1] {
			t.Errorf("%s: %q %q", spec, name, value)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("LABEL=\\040 / ext4 a,b\n\\\\\n# x")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range Parse(text) {
			l.Tag()
		}
	})
}
