// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Calls, as kubelet.Call has them.
const (
	stage     = "NodeStageVolume"
	publish   = "NodePublishVolume"
	expand    = "NodeExpandVolume"
	provision = "CreateVolume"
)

// callsOfKubelet is which call has failed when kubelet says so (kubernetes 1.36,
// pkg/volume/util/operationexecutor/operation_generator.go). A raw block device is staged
// by SetUpDevice and published by MapPodDevice (pkg/volume/csi/csi_block.go).
var callsOfKubelet = []struct{ says, method string }{
	{"MountVolume.MountDevice failed", stage},
	{"MapVolume.SetUpDevice failed", stage},
	{"MountVolume.SetUp failed", publish},
	{"MapVolume.MapPodDevice failed", publish},
	{"NodeExpandVolume failed", expand},
	{"while expanding volume", expand},
}

// answered is an answer of an agent in a message, with its code.
var answered = regexp.MustCompile(`rpc error: code = (\w+)`)

// troubles are reasons of kubelet's for a pod that does not start, which need not be calls.
var troubles = []string{"FailedMount", "FailedMapVolume", "FailedCreatePodSandBox", "Failed", "InspectFailed"}

// noCall is the code of what went wrong in kubelet itself.
const noCall = "no call"

// failure is which call of the agent an event tells of, and with what code it failed; of
// what never came to be a call, as when kubelet does not know the agent, its reason.
func failure(e *corev1.Event) (method, code string, ok bool) {
	if e.Type != corev1.EventTypeWarning {
		return "", "", false
	}
	m := answered.FindStringSubmatch(e.Message)
	if m == nil {
		return e.Reason, noCall, slices.Contains(troubles, e.Reason)
	}
	code = m[1]
	if e.Reason == "ProvisioningFailed" {
		return provision, code, code != "Aborted" // which only says that it is going on
	}
	for _, c := range callsOfKubelet {
		if strings.Contains(e.Message, c.says) {
			return c.method, code, true
		}
	}
	return "", "", false
}
