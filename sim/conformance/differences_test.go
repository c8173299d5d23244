// SPDX-License-Identifier: Apache-2.0

package conformance

// known are the differences that may be, by where they are, with their reasons.
// docs/simulate.md has them, too.
var known = map[string]string{}
