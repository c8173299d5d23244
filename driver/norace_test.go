// SPDX-License-Identifier: Apache-2.0

//go:build !race

package driver_test

const racing = false
