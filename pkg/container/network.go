//go:build containers_image_openpgp

package container

import (
	"errors"

	nettypes "go.podman.io/common/libnetwork/types"
)

// noNetwork stands where buildah wants a maker of container networks. Commands
// share the network of the process, so it is never asked to make one; without
// it buildah looks for netavark, which a build does not need.
type noNetwork struct{}

var errNoNetwork = errors.New("internal error: working containers have no network of their own")

func (noNetwork) NetworkCreate(nettypes.Network, *nettypes.NetworkCreateOptions) (nettypes.Network, error) {
	return nettypes.Network{}, errNoNetwork
}
func (noNetwork) NetworkUpdate(string, nettypes.NetworkUpdateOptions) error { return errNoNetwork }
func (noNetwork) NetworkRemove(string) error                                { return errNoNetwork }
func (noNetwork) NetworkList(...nettypes.FilterFunc) ([]nettypes.Network, error) {
	return nil, errNoNetwork
}
func (noNetwork) NetworkInspect(string) (nettypes.Network, error) {
	return nettypes.Network{}, errNoNetwork
}
func (noNetwork) Setup(string, nettypes.SetupOptions) (map[string]nettypes.StatusBlock, error) {
	return nil, errNoNetwork
}
func (noNetwork) Teardown(string, nettypes.TeardownOptions) error { return errNoNetwork }
func (noNetwork) RunInRootlessNetns(func() error) error           { return errNoNetwork }
func (noNetwork) RootlessNetnsInfo() (*nettypes.RootlessNetnsInfo, error) {
	return nil, errNoNetwork
}
func (noNetwork) PestoSocketPath() string           { return "" }
func (noNetwork) Drivers() []string                 { return nil }
func (noNetwork) DefaultNetworkName() string        { return "" }
func (noNetwork) NetworkInfo() nettypes.NetworkInfo { return nettypes.NetworkInfo{} }
