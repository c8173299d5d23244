// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins the controllers of Kubernetes CSI that a cluster runs once:
// external-resizer, which grows PVs and leaves the rest to the node, and
// snapshot-controller.
package tools

import (
	_ "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer"
	_ "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller"
)
