package vm

// Missing tells what booting an image of this machine's architecture lacks: the
// emulator, the UEFI firmware (each a *MissingError), or any way to boot it.
func Missing() []error {
	m, err := machineFor("")
	if err != nil {
		return []error{err}
	}
	var missing []error
	if _, err := m.emulator(); err != nil {
		missing = append(missing, err)
	}
	if _, err := m.findFirmware("/", m.firmware); err != nil {
		missing = append(missing, err)
	}
	return missing
}
