package output

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

func sample() Record {
	return Record{
		Config: string(layout.Default().Data), FSType: "ext4", RootLabel: "root", SectorSize: 512,
		RootOptions: "-i 4096", Seed: strings.Repeat("0f", 16), Size: 64 << 20, Exact: true, Time: 1700000000, BIOS: true,
	}
}

func TestARecordComesBackFromItsLabelAsItWas(t *testing.T) {
	r, err := ParseRecord(sample().String())
	if err != nil {
		t.Fatal(err)
	}
	r.Version = 0
	if r != sample() {
		t.Errorf("got %+v", r)
	}
	first, err := r.Wanted("the label", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := sample().Wanted("the label", nil)
	if err != nil {
		t.Fatal(err)
	}
	root := first.Plan.Root()
	if root.UUID == "" || root.UUID != again.Plan.Root().UUID || root.Label != "root" || strings.Join(root.Options, " ") != "-i 4096" {
		t.Errorf("the root file system is %+v", root)
	}
	if first.ID("x") != again.ID("x") || first.ID("x") == first.ID("y") {
		t.Error("ids do not follow from the seed and the purpose alone")
	}
}

func TestABadRecordIsRefused(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2}`, `{}`} {
		if _, err := ParseRecord(text); err == nil || !strings.Contains(err.Error(), RecordLabel) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for name, change := range map[string]func(*Record){
		"seed":   func(r *Record) { r.Seed = "0f" },
		"long":   func(r *Record) { r.Seed += "0f" },
		"hex":    func(r *Record) { r.Seed = strings.Repeat("x", 32) },
		"config": func(r *Record) { r.Config = "- nonsense: {}" },
	} {
		r := sample()
		change(&r)
		if _, err := r.Wanted("the label", nil); err == nil {
			t.Errorf("a bad %s was taken", name)
		}
	}
}
