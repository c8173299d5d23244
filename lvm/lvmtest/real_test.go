// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package lvmtest_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/podlv/podlv/lvm/lvmtest"
)

var disks = flag.String("lvm.disks", "", "empty disks, by commas; what is on them is lost")

// One test a chapter: test-lvm divides tests among machines.
func TestRealReport(t *testing.T)     { chapter(t, "report") }
func TestRealStamp(t *testing.T)      { chapter(t, "stamp") }
func TestRealCreate(t *testing.T)     { chapter(t, "create") }
func TestRealSpace(t *testing.T)      { chapter(t, "space") }
func TestRealNames(t *testing.T)      { chapter(t, "names") }
func TestRealOldBytes(t *testing.T)   { chapter(t, "old bytes") }
func TestRealExtend(t *testing.T)     { chapter(t, "extend") }
func TestRealExtendOver(t *testing.T) { chapter(t, "extend over") }
func TestRealRemove(t *testing.T)     { chapter(t, "remove") }
func TestRealTag(t *testing.T)        { chapter(t, "tag") }
func TestRealActivate(t *testing.T)   { chapter(t, "activate") }
func TestRealThin(t *testing.T)       { chapter(t, "thin") }
func TestRealSnapshot(t *testing.T)   { chapter(t, "snapshot") }
func TestRealGroups(t *testing.T)     { chapter(t, "groups") }
func TestRealThinPools(t *testing.T)  { chapter(t, "thin pools") }
func TestRealBroken(t *testing.T)     { chapter(t, "broken") }
func TestRealQueue(t *testing.T)      { chapter(t, "queue") }
func TestRealIssues(t *testing.T)     { chapter(t, "issues") }

func chapter(t *testing.T, name string) {
	t.Helper()
	if *disks == "" {
		t.Fatal("no -lvm.disks: run this through make test-lvm")
	}
	lvmtest.RunChapter(t, name, func(t *testing.T) lvmtest.Machine {
		return lvmtest.RealMachine(t, strings.Split(*disks, ","))
	})
}

// TestRealChapters would notice a chapter that has no test above.
func TestRealChapters(t *testing.T) {
	if n := len(lvmtest.Chapters()); n != 18 {
		t.Fatalf("the contract has %d chapters: give each a test in this file", n)
	}
}
