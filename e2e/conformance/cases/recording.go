// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"time"

	"github.com/podlv/podlv/e2e/conformance/record"
)

// Recording is what a kubelet did.
type Recording struct {
	Calls []record.Call
	Pods  []Pod
	// Found is what was seen besides calls, by case and name: "refused/reason".
	Found map[string]string
	// Began is when the cases began, Ended when they ended.
	Began, Ended time.Time
}

// Pod is one that there was.
type Pod struct {
	Case, Name, UID string
	Inline          []string // the names of its inline volumes
	Forced          bool     // it was deleted by force: it is gone when kubelet hears of that
}
