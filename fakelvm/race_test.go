// SPDX-License-Identifier: Apache-2.0

//go:build race

package fakelvm_test

// racing says that the race detector is at work, which makes all take ten times as
// long.
const racing = true
