// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lvmFolder is LVM_SYSTEM_DIR in the guest.
const lvmFolder = "/run/lvm-config"

// writeLVMConfig writes the guest's lvm.conf.
func writeLVMConfig(disks []string) error {
	if err := os.MkdirAll(lvmFolder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(lvmFolder, "lvm.conf"), []byte(LVMConfig(disks, false)), 0o644)
}

// LVMConfig is an lvm.conf that sees only these devices and, over them, those of
// Flakey. Without udev lvm must make its device nodes itself and must not wait
// for a daemon that never answers; without the filter every command would open
// every device, and hang on one that does.
//
// The folder of the file becomes LVM_SYSTEM_DIR, so that the backups of metadata,
// which lvm keeps beside it, are apart from those of the host.
func LVMConfig(devices []string, udev bool) string {
	var filter []string
	for _, d := range devices {
		filter = append(filter, fmt.Sprintf("%q", "a|^"+d+"$|"))
	}
	filter = append(filter, fmt.Sprintf("%q", "a|^/dev/mapper/"+flakeyPrefix+"|"), `"r|.*|"`)
	on := 0
	if udev {
		on = 1
	}
	return fmt.Sprintf(`# For the tests of podlv; see lvm.conf(5).
devices {
	dir = "/dev"
	scan = "/dev"
	use_devicesfile = 0
	obtain_device_list_from_udev = 0
	global_filter = [ %s ]
}
activation {
	udev_sync = %d
	udev_rules = %d
	monitoring = 0
}
`, strings.Join(filter, ", "), on, on)
}
