package oci

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// keychain looks for a login where podman keeps it, then where docker does.
// file, unless "", is asked alone.
func keychain(file string) authn.Keychain {
	if file != "" {
		return authFiles{file}
	}
	return authn.NewMultiKeychain(podmanAuthFiles(), authn.DefaultKeychain)
}

// podmanAuthFiles lists the files of containers-auth.json(5), best first.
func podmanAuthFiles() authFiles {
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		return authFiles{file}
	}
	var files authFiles
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers/auth.json"))
	} else {
		files = append(files, fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid()))
	}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "containers/auth.json"))
	}
	return files
}

// authFiles are files in podman's form. It is docker's, but its keys may name a
// repository or a folder of them besides a host, and docker.io is called so.
type authFiles []string

type authFile struct {
	Auths       map[string]login  `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
}

type login struct {
	Auth          string `json:"auth"` // base64 of user:password
	IdentityToken string `json:"identitytoken"`
}

// Resolve finds the login for a repository, or anonymity.
func (files authFiles) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for _, name := range files {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var f authFile
		if err := json.Unmarshal(b, &f); err != nil {
			return nil, fmt.Errorf("reading logins from %s: %w", name, err)
		}
		a, err := f.find(r)
		if err != nil {
			return nil, fmt.Errorf("using a login from %s: %w", name, err)
		}
		if a != authn.Anonymous {
			return a, nil
		}
	}
	return authn.Anonymous, nil
}

func (f authFile) find(r authn.Resource) (authn.Authenticator, error) {
	for _, key := range authKeys(r) {
		if helper := f.CredHelpers[key]; helper != "" {
			return authn.NewKeychainFromHelper(program(helper)).Resolve(r)
		}
		if l, ok := f.Auths[key]; ok {
			return l.authenticator()
		}
	}
	return authn.Anonymous, nil
}

// authKeys lists the keys to look under: the repository, the folders it lies
// in, the host.
func authKeys(r authn.Resource) []string {
	host, full := r.RegistryStr(), r.String()
	var keys []string
	for key := full; strings.HasPrefix(key, host); key = key[:max(0, strings.LastIndexByte(key, '/'))] {
		if host == name.DefaultRegistry {
			keys = append(keys, dockerHost+strings.TrimPrefix(key, host))
		}
		keys = append(keys, key)
	}
	if host == name.DefaultRegistry {
		keys = append(keys, authn.DefaultAuthKey)
	}
	return keys
}

func (l login) authenticator() (authn.Authenticator, error) {
	if l.Auth == "" && l.IdentityToken == "" {
		return authn.Anonymous, nil
	}
	b, err := base64.StdEncoding.DecodeString(l.Auth)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	user, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
	if !ok && l.IdentityToken == "" {
		return nil, errors.New("it is not of the form user:password")
	}
	return authn.FromConfig(authn.AuthConfig{Username: user, Password: password, IdentityToken: l.IdentityToken}), nil
}

// program is a credential helper, docker-credential-NAME in PATH.
type program string

// Get asks the helper for a host's login.
func (p program) Get(host string) (user, secret string, err error) {
	if strings.ContainsRune(string(p), '/') {
		return "", "", fmt.Errorf("%q is no name of a credential helper", string(p))
	}
	cmd := exec.CommandContext(context.Background(), "docker-credential-"+string(p), "get")
	cmd.Stdin = strings.NewReader(host)
	out, err := cmd.Output()
	if err != nil {
		return "", "", err
	}
	var answer struct{ Username, Secret string }
	err = json.Unmarshal(out, &answer)
	return answer.Username, answer.Secret, err
}
