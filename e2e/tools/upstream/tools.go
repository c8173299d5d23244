// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins Kubernetes' end-to-end tests, the program of the image that their
// pods run, and the program that runs them in parallel.
package tools

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
)
