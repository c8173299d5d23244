// SPDX-License-Identifier: Apache-2.0

//go:build !race

package fakelvm_test

const racing = false
