// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"encoding/json"
	"fmt"
	"path"

	"github.com/podlv/podlv/driver"
)

// volumeData is the name of the file in which kubelet keeps, beside a volume's mount,
// what it needs to undo it. A kubelet that is started again knows its volumes from these
// files alone.
const volumeData = "vol_data.json"

// The values of data.Lifecycle (storagev1.VolumeLifecycleMode).
const (
	ephemeral  = "Ephemeral"
	persistent = "Persistent"
)

// data is what is in the file (kubernetes 1.36, pkg/volume/csi/csi_plugin.go,
// volDataKey). Some of it is only in some of the files.
type data struct {
	Spec      string `json:"specVolID,omitempty"`
	Handle    string `json:"volumeHandle"`
	Driver    string `json:"driverName"`
	Node      string `json:"nodeName,omitempty"`
	Lifecycle string `json:"volumeLifecycleMode,omitempty"`
}

// keep writes a volume's file into a folder, which must be there.
func (k *Kubelet) keep(folder string, d data) error {
	d.Driver = driver.Name
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return k.Host.WriteFile(path.Join(folder, volumeData), text)
}

// kept reads a volume's file.
func (k *Kubelet) kept(folder string) (d data, err error) {
	text, err := k.Host.ReadFile(path.Join(folder, volumeData))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("%s: %w", path.Join(folder, volumeData), err)
	}
	return d, nil
}

// dataFolder is where the file of a published volume is.
func (e *entry) dataFolder(target string) string {
	if e.block {
		return path.Join(blockDir, e.spec, "data")
	}
	return path.Dir(target)
}
