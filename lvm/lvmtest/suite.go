// SPDX-License-Identifier: Apache-2.0

package lvmtest

import "testing"

// contract is one promise: its name says what holds, its test shows it.
type contract struct {
	name string
	test func(f *fixture)
}

// Run plays the whole contract. newMachine is called once for every subtest: its
// disks are empty, or were left by the suite.
func Run(t *testing.T, newMachine func(t *testing.T) Machine) {
	t.Helper()
	for _, chapter := range []struct {
		name      string
		contracts []contract
	}{
		{"report", reportContracts},
		{"create", createContracts},
		{"space", spaceContracts},
		{"names", nameContracts},
		{"old bytes", wipeContracts},
		{"extend", extendContracts},
		{"remove", removeContracts},
		{"tag", tagContracts},
		{"activate", activateContracts},
		{"thin", thinContracts},
		{"snapshot", snapshotContracts},
		{"broken", brokenContracts},
		{"queue", queueContracts},
		{"issues", issueContracts},
	} {
		t.Run(chapter.name, func(t *testing.T) {
			for _, c := range chapter.contracts {
				t.Run(c.name, func(t *testing.T) { c.test(newFixture(t, newMachine(t))) })
			}
		})
	}
}
