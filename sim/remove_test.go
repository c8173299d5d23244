// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A call that removes thousands is ended after a minute, in one of two ways; what the API
// server refuses it refuses again.
func TestRemoveAllGoesOnAfterTheCallWasEnded(t *testing.T) {
	for name, c := range map[string]struct {
		answer error
		calls  int
		fails  bool
	}{
		"done":    {nil, 1, false},
		"timeout": {apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0), 2, false},
		"stream":  {errors.New("stream error: stream ID 1; INTERNAL_ERROR; received from peer"), 2, false},
		"refused": {apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no")), 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := removeAll(t.Context(), func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error {
				if calls++; calls == 1 {
					return c.answer
				}
				return nil
			})
			require.Equal(t, c.fails, err != nil, "%v", err)
			require.Equal(t, c.calls, calls)
		})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	require.Error(t, removeAll(ended, func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error { return errors.New("no") }))
}
