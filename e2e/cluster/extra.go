// SPDX-License-Identifier: Apache-2.0

package cluster

import "path/filepath"

// StartController starts a controller beside the control plane, of Config.Programs or
// by its path. It should reach the API server by Kubeconfig. Its output goes to a log
// of its name; that it ends before Close ends the cluster.
func (c *Cluster) StartController(program string, args ...string) error {
	if !filepath.IsAbs(program) {
		program = filepath.Join(c.cfg.Programs, program)
	}
	return c.startProcess(program, args...)
}
