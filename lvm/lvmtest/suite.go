// SPDX-License-Identifier: Apache-2.0

package lvmtest

import "testing"

// contract is one promise: its name says what holds, its test shows it.
type contract struct {
	name string
	test func(f *fixture)
}

// chapters is the whole contract.
var chapters = []struct {
	name      string
	contracts []contract
}{
	{"report", reportContracts},
	{"stamp", stampContracts},
	{"create", createContracts},
	{"space", spaceContracts},
	{"names", nameContracts},
	{"old bytes", wipeContracts},
	{"extend", extendContracts},
	{"extend over", overContracts},
	{"remove", removeContracts},
	{"tag", tagContracts},
	{"activate", activateContracts},
	{"thin", thinContracts},
	{"snapshot", snapshotContracts},
	{"groups", groupContracts},
	{"thin pools", poolContracts},
	{"broken", brokenContracts},
	{"queue", queueContracts},
	{"issues", issueContracts},
}

// Run plays the whole contract. newMachine is called once for every subtest: its
// disks are empty, or were left by the suite.
func Run(t *testing.T, newMachine func(t *testing.T) Machine) {
	t.Helper()
	for _, chapter := range chapters {
		t.Run(chapter.name, func(t *testing.T) { RunChapter(t, chapter.name, newMachine) })
	}
}

// RunChapter plays one chapter of the contract, so that several machines can
// share the work; Chapters has their names.
func RunChapter(t *testing.T, name string, newMachine func(t *testing.T) Machine) {
	t.Helper()
	for _, chapter := range chapters {
		if chapter.name == name {
			for _, c := range chapter.contracts {
				t.Run(c.name, func(t *testing.T) { c.test(newFixture(t, newMachine(t))) })
			}
			return
		}
	}
	t.Fatalf("the contract has no chapter %q", name)
}

// Chapters are the names of all chapters.
func Chapters() (names []string) {
	for _, chapter := range chapters {
		names = append(names, chapter.name)
	}
	return names
}
