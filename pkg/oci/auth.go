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
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sys/unix"
)

// pullSecretsVariable names folders or files with logins, separated by colons:
// mounted secrets of a Kubernetes namespace.
const pullSecretsVariable = "DIBBER_PULL_SECRETS"

// secretNames are the names that a login file has in a mounted secret, of the types
// kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg, and in docker's folder.
var secretNames = []string{".dockerconfigjson", "config.json", "auth.json", ".dockercfg"}

// authFiles are files with logins, best first. They have docker's form, but keys
// may name a repository or a folder of them besides a host, as podman has it.
type authFiles struct {
	names  []string
	wanted bool // the user named the file: it must be there
}

// logins lists the files in which a login is looked for. file, unless "", is the
// only one.
func logins(file string) authFiles {
	if file != "" {
		return authFiles{[]string{inSecret(file)}, true}
	}
	return authFiles{names: append(append(podmanLogins(), pullSecrets()...), dockerLogins()...)}
}

// podmanLogins lists the files of containers-auth.json(5).
func podmanLogins() []string {
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		return []string{inSecret(file)}
	}
	var files []string
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

// pullSecrets lists the files of the secrets that a pod mounts.
func pullSecrets() []string {
	var files []string
	for _, file := range filepath.SplitList(os.Getenv(pullSecretsVariable)) {
		files = append(files, inSecret(file))
	}
	return files
}

func dockerLogins() []string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return []string{inSecret(dir)}
	}
	if dir, err := os.UserHomeDir(); err == nil {
		return []string{filepath.Join(dir, ".docker/config.json")}
	}
	return nil
}

// inSecret gives the file with logins in a folder, or the file itself.
func inSecret(file string) string {
	if info, err := os.Stat(file); err != nil || !info.IsDir() {
		return file
	}
	for _, inside := range secretNames {
		if _, err := os.Stat(filepath.Join(file, inside)); err == nil {
			return filepath.Join(file, inside)
		}
	}
	return filepath.Join(file, secretNames[0])
}

type authFile struct {
	Auths       map[string]login  `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"` // the helper for every registry
}

type login struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

// Resolve finds the login for a repository, or anonymity.
func (files authFiles) Resolve(r authn.Resource) (authn.Authenticator, error) {
	a, _, err := files.find(r)
	return a, err
}

// find is Resolve with the file that the login is from, "" for anonymity.
func (files authFiles) find(r authn.Resource) (authn.Authenticator, string, error) {
	for _, name := range files.names {
		b, err := os.ReadFile(name)
		if !files.wanted && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR)) {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("reading logins: %w", err)
		}
		f, err := parseAuthFile(name, b)
		if err != nil {
			return nil, "", fmt.Errorf("reading logins from %s: %w", name, err)
		}
		a, err := f.find(r)
		if err != nil {
			return nil, "", fmt.Errorf("using a login from %s: %w", name, err)
		}
		if a != authn.Anonymous {
			return a, name, nil
		}
	}
	return authn.Anonymous, "", nil
}

// parseAuthFile reads logins. A .dockercfg has them without anything around.
func parseAuthFile(name string, b []byte) (authFile, error) {
	var f authFile
	if filepath.Base(name) == ".dockercfg" {
		return f, json.Unmarshal(b, &f.Auths)
	}
	return f, json.Unmarshal(b, &f)
}

// describe tells whose login is used for a repository, for an error.
func (files authFiles) describe(r authn.Resource) string {
	a, from, err := files.find(r)
	if err != nil || from == "" {
		return "without a login (there is none for it in " + strings.Join(files.names, ", ") + ")"
	}
	user := ""
	if c, err := a.Authorization(); err == nil && c.Username != "" {
		user = " of " + c.Username
	}
	return "with the login" + user + " from " + from
}

func (f authFile) find(r authn.Resource) (authn.Authenticator, error) {
	for _, key := range authKeys(r) {
		if helper := f.CredHelpers[key]; helper != "" {
			return authn.NewKeychainFromHelper(program(helper)).Resolve(r)
		}
		if l, ok := f.login(key); ok {
			if a, err := l.authenticator(); err != nil || a != authn.Anonymous {
				return a, err
			}
		}
	}
	if f.CredsStore != "" {
		return authn.NewKeychainFromHelper(program(f.CredsStore)).Resolve(r)
	}
	return authn.Anonymous, nil
}

// login finds the entry for a key, which files write in several ways: as it is, as
// an URL, or in Kubernetes with a pattern for the host.
func (f authFile) login(key string) (login, bool) {
	if l, ok := f.Auths[key]; ok {
		return l, true
	}
	for written, l := range f.Auths {
		if strings.HasPrefix(written, "http") && plainKey(written) == key {
			return l, true
		}
	}
	host, rest, _ := strings.Cut(key, "/")
	for written, l := range f.Auths {
		pattern, below, _ := strings.Cut(plainKey(written), "/")
		fits, err := path.Match(pattern, host)
		if strings.Contains(pattern, "*") && strings.Count(pattern, ".") == strings.Count(host, ".") && below == rest && err == nil && fits {
			return l, true
		}
	}
	return login{}, false
}

// plainKey takes what an URL has around a registry's name off.
func plainKey(written string) string {
	_, rest, isURL := strings.Cut(written, "://")
	if !isURL {
		return written
	}
	rest = strings.TrimSuffix(rest, "/")
	return strings.TrimSuffix(strings.TrimSuffix(rest, "/v1"), "/v2")
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
	if l.Auth == "" {
		if l.Username == "" && l.IdentityToken == "" {
			return authn.Anonymous, nil
		}
		return authn.FromConfig(authn.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}), nil
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
