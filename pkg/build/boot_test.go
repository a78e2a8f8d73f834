//go:build containers_image_openpgp

package build

import "testing"

func TestOnlyARequestForABIOSAsksForItsCode(t *testing.T) {
	for text, want := range map[string]bool{
		"": false,
		`{"target":"x86_64-efi","args":["--comment","i386-pc"]}` + "\n":           false,
		`{"target":"x86_64-efi"}` + "\n" + `{"target":"i386-pc"}` + "\n":          true,
		`{"target":"i386-pc","device":"/dev/loop0","removable":false}` + "\n":     true,
		`{"target":"arm64-efi","device":"\"target\":\"i386-pc\"","x":1}` + "\n\n": false,
	} {
		if got, err := asksForBIOS(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := asksForBIOS("{half"); err == nil {
		t.Error("a request that is no JSON was taken")
	}
}
