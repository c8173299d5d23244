// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/lab"
)

func TestPodsHaveTheImageThatNodesHave(t *testing.T) {
	require.Equal(t, lab.Busybox, cases.Image)
}
