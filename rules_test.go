// SPDX-License-Identifier: Apache-2.0

// Package podlv_test holds the house rules of this repository as tests, so that
// no reviewer has to remember them. There are only rules, each a check of the
// whole tree with the reason why it exists, and for each rule the ways of breaking
// it that must be noticed (rules_broken_test.go). A rule that stands in the way
// is changed here, in the same commit, with the reason.
package podlv_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rule is one house rule.
type rule struct {
	name string
	why  string
	// check returns one line per violation: where, what, and what is allowed.
	check func(*repository) []string
}

var rules = []rule{
	{
		"imports point down",
		"cmd -> driver -> lvm -> standard library: what runs lvm must be usable and testable without Kubernetes, and a change above never breaks what is below",
		checkImports,
	},
	{
		"fakelvm shares only the runner's types with lvm",
		"were the client's argument builder or parser shared with the fake, one misreading of lvm2 would fool both and every test would pass",
		checkFakeImports,
	},
	{
		"no drawers",
		"a package is named after what it provides; util, common, helper, types and manager collect what nobody placed, and pkg and internal say nothing in a program that nobody imports",
		checkNames,
	},
	{
		"every package has a doc comment",
		"the package comment is where a reader learns what there is and what holds; without it the code is the only description of itself",
		checkDocs,
	},
	{
		"no Go file over 600 lines",
		"a file is read from top to bottom; split it by theme",
		checkLength,
	},
	{
		"gRPC codes only in driver/errors.go",
		"kubelet and the sidecars act on the code (retry, reschedule, give up), so the mapping from errors must be one table that one person can review; sim/kubelet/codes.go is how kubelet reads it, e2e/conformance/record/codes.go how it is made to fail",
		checkCodes,
	},
	{
		"programs are started only at the seams",
		"lvm/exec.go and driver/mount_linux.go are what the fakes replace, sim/kube/child.go is where the simulator starts its control plane, and compare runs itself; a program started elsewhere runs in no test without root",
		checkExec,
	},
	{
		"the process belongs to main",
		"exit status, environment and flags are the program's; a package that reads or ends the process cannot be run a thousand times in one simulator",
		checkProcess,
	},
	{
		"no init functions",
		"importing a package must do nothing: what runs, runs because somebody called it",
		checkInit,
	},
	{
		"no package variables except errors and tables",
		"the simulator runs a thousand agents in one process: state in a package is state that they share",
		checkVariables,
	},
	{
		"never FormatAndMount",
		"mount-utils formats whenever blkid finds nothing; what podlv may format is decided by the LV's tags and the filesystem's UUID, or data is lost",
		checkFormatAndMount,
	},
	{
		"every Go file starts with its licence",
		"a file that is copied elsewhere must say under which terms",
		checkLicence,
	},
	{
		"no TODO",
		"an open end belongs into an issue, where somebody sees it",
		checkOpenEnds,
	},
	{
		"links and file names in Markdown files resolve",
		"what a reader is sent to must be there, and a file that moves takes its mentions with it",
		checkLinks,
	},
	{
		"Kubernetes modules move together",
		"k8s.io modules of different minor releases do not compile together, CSI spec 1.13 removed symbols that Kubernetes 1.36 and csi-test use, and the control plane's module must not share a program with ours",
		checkPins,
	},
	{
		"what is told to be made can be made",
		"a page, the gate or a workflow that names a target which is gone fails in front of a stranger; what the gate does is done for pull requests, too",
		checkTargets,
	},
	{
		"no path of one machine",
		"a path that exists on one machine only breaks every other, and tells of that machine",
		checkMachinePaths,
	},
}

func TestHouseRules(t *testing.T) {
	r, err := load(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, violation := range rule.check(r) {
				t.Error(violation)
			}
			if t.Failed() {
				t.Logf("rule: %s\nwhy: %s", rule.name, rule.why)
			}
		})
	}
}

// Layers that are not the name of a top folder.
const (
	fakeMounts   = "sim/fakemount" // what tests and the simulator share
	simulator    = "cmd/podlv-sim" // the agent's program has no fake in it
	controlPlane = "sim/controlplane"
	testSupport  = "test support" // folders whose name ends in "test": lvm/lvmtest, driver/mounttest
	simTest      = "sim's tests"  // such folders in sim, which the tests of all layers may use: they know sim, and no other layer
	images       = "e2e/image"    // makes container images, for e2e and the simulator; it knows none of ours
	kindNodes    = "e2e/kind"     // makes clusters of kind, for both as well
	microVM      = "microVM"      // the harness: it must work for any program, so it knows none of ours
	microVMDir   = "lvm/lvmtest/microvm"
)

// layers says which of our layers the non-test files of a layer may import.
// sim/controlplane is a module of its own, which nobody may import and which imports
// nothing else of ours: a binary that links the provisioner and Kubernetes' own
// packages panics at start.
var layers = map[string][]string{
	"cmd":        {"cmd", "driver", "lvm"},
	"driver":     {"driver", "lvm", "program"},
	"lvm":        {"lvm", "program"},
	"program":    {},
	"fakelvm":    {"fakelvm", "lvm"},
	"sim":        {"sim", "driver", "lvm", "fakelvm", fakeMounts, images, kindNodes},
	simTest:      {"sim"},
	controlPlane: {controlPlane},
	"e2e":        {"e2e", microVM, images, kindNodes},
	images:       {images},
	kindNodes:    {kindNodes},
	microVM:      {microVM},
	testSupport:  {testSupport, microVM, "lvm", "fakelvm", "driver", fakeMounts},
	fakeMounts:   {"driver", "fakelvm"},
	simulator:    {simulator, "sim"},
}

// layer returns the layer of a folder.
func layer(dir string) string {
	if dir == microVMDir || strings.HasPrefix(dir, microVMDir+"/") {
		return microVM
	}
	if dir == controlPlane || strings.HasPrefix(dir, controlPlane+"/") {
		return controlPlane
	}
	if dir == fakeMounts || dir == simulator || dir == images || dir == kindNodes {
		return dir
	}
	elements := strings.Split(dir, "/")
	if elements[0] != "cmd" && elements[0] != "e2e" {
		for _, e := range elements {
			if strings.HasSuffix(e, "test") {
				if elements[0] == "sim" {
					return simTest
				}
				return testSupport
			}
		}
	}
	return elements[0]
}

func checkImports(r *repository) (bad []string) {
	for f := range r.sources() {
		from := layer(f.dir)
		allowed, known := layers[from]
		if !known {
			bad = append(bad, fmt.Sprintf("%s: folder %s has no place in the layout: add it to layers in rules_test.go", f.path, from))
			continue
		}
		for _, i := range f.imports() {
			dir, ours := strings.CutPrefix(i.path, module+"/")
			switch {
			case ours && !slices.Contains(allowed, layer(dir)):
				bad = append(bad, fmt.Sprintf("%s: %s imports %s (%s); of ours it may import only %s", i.pos, from, dir, layer(dir), strings.Join(allowed, ", ")))
			case !ours && from == "lvm" && !standard(i.path):
				bad = append(bad, fmt.Sprintf("%s: lvm imports %s; it may import only the standard library", i.pos, i.path))
			}
		}
	}
	return bad
}

// standard tells whether an import path is the standard library's: no module
// path of anybody else may lack a dot in its first element.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func checkFakeImports(r *repository) (bad []string) {
	allowed := []string{"Runner", "ExitError", "HungError", "ErrNoLabel"}
	for f := range r.sources() {
		if layer(f.dir) != "fakelvm" {
			continue
		}
		for pos, name := range f.uses(module + "/lvm") {
			if !slices.Contains(allowed, name) {
				bad = append(bad, fmt.Sprintf("%s: fakelvm uses lvm.%s; it may use only %s", pos, name, strings.Join(allowed, ", ")))
			}
		}
	}
	return bad
}

func checkNames(r *repository) (bad []string) {
	drawers := []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "managers", "misc", "pkg", "internal"}
	seen := map[string]bool{}
	for _, f := range r.goFiles {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		for _, word := range append(strings.Split(f.dir, "/"), name) {
			if slices.Contains(drawers, word) && !seen[f.dir+word] {
				seen[f.dir+word] = true
				bad = append(bad, fmt.Sprintf("%s: package %s in folder %s: call it after what it provides, not %q", f.path, name, f.dir, word))
			}
		}
	}
	return bad
}

func checkDocs(r *repository) (bad []string) {
	packages := map[string][]*goFile{} // by folder; a folder's test files count where there are no others
	for _, f := range r.goFiles {
		packages[f.dir] = append(packages[f.dir], f)
	}
	for _, dir := range sortedKeys(packages) {
		files := packages[dir]
		if sources := slices.DeleteFunc(slices.Clone(files), func(f *goFile) bool { return f.test }); len(sources) > 0 {
			files = sources
		}
		name := files[0].ast.Name.Name
		want := "Package " + name + " "
		if name == "main" {
			want = "Command "
		}
		if !slices.ContainsFunc(files, func(f *goFile) bool { return strings.HasPrefix(f.doc(), want) }) {
			bad = append(bad, fmt.Sprintf("%s: package %s has no doc comment that starts with %q", dir, name, want))
		}
	}
	return bad
}

func checkLength(r *repository) (bad []string) {
	const most = 600
	for _, f := range r.goFiles {
		if n := strings.Count(r.files[f.path], "\n"); n > most && !f.generated() {
			bad = append(bad, fmt.Sprintf("%s: %d lines; at most %d", f.path, n, most))
		}
	}
	return bad
}

func checkCodes(r *repository) (bad []string) {
	for f := range r.sources() {
		for _, i := range f.imports() {
			if (i.path == "google.golang.org/grpc/codes" || i.path == "google.golang.org/grpc/status") && !slices.Contains([]string{"driver/errors.go", "sim/kubelet/codes.go", "e2e/conformance/record/codes.go"}, f.path) {
				bad = append(bad, fmt.Sprintf("%s: imports %s; return an error that driver/errors.go maps", i.pos, i.path))
			}
		}
	}
	return bad
}

func checkExec(r *repository) (bad []string) {
	seams := []string{"lvm/exec.go", "driver/mount_linux.go", "sim/kube/child.go", "cmd/podlv-sim/compare.go"}
	for f := range r.sources() {
		if slices.Contains(seams, f.path) || layer(f.dir) == "program" || slices.Contains([]string{testSupport, microVM, "e2e", images, kindNodes}, layer(f.dir)) {
			continue
		}
		for _, i := range f.imports() {
			if i.path == "os/exec" || i.path == module+"/program" {
				bad = append(bad, fmt.Sprintf("%s: imports %s; only %s, test support and e2e may", i.pos, i.path, strings.Join(seams, ", ")))
			}
		}
		bad = append(bad, f.calls("os", "StartProcess")...)
		bad = append(bad, f.calls("syscall", "Exec", "ForkExec", "StartProcess")...)
	}
	return bad
}

func checkProcess(r *repository) (bad []string) {
	for f := range r.sources() {
		if f.ast.Name.Name == "main" || slices.Contains([]string{"cmd", testSupport, simTest, microVM}, layer(f.dir)) {
			continue
		}
		for _, i := range f.imports() {
			if i.path == "flag" || i.path == "github.com/spf13/pflag" || i.path == "github.com/spf13/cobra" {
				bad = append(bad, fmt.Sprintf("%s: imports %s; only cmd and main packages may: take a Config", i.pos, i.path))
			}
		}
		bad = append(bad, f.calls("os", "Exit", "Getenv", "LookupEnv", "ExpandEnv")...)
		bad = append(bad, f.calls("syscall", "Exit", "Getenv")...)
		bad = append(bad, f.calls("log", "Fatal", "Fatalf", "Fatalln")...)
	}
	return bad
}

func checkInit(r *repository) (bad []string) {
	for _, f := range r.goFiles {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				bad = append(bad, f.pos(fn)+": init function; call it from where it is needed")
			}
		}
	}
	return bad
}

func checkFormatAndMount(r *repository) (bad []string) {
	for _, f := range r.goFiles {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "FormatAndMount") {
				bad = append(bad, fmt.Sprintf("%s: %s; decide what is on the device, then mkfs and mount", f.pos(s), s.Sel.Name))
			}
			return true
		})
	}
	return bad
}

func checkLicence(r *repository) (bad []string) {
	const want = "// SPDX-License-Identifier: Apache-2.0\n"
	for _, f := range r.goFiles {
		if !strings.HasPrefix(r.files[f.path], want) && !f.generated() {
			bad = append(bad, fmt.Sprintf("%s: the first line must be %s", f.path, strings.TrimSpace(want)))
		}
	}
	return bad
}

func checkOpenEnds(r *repository) (bad []string) {
	mark := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	for _, f := range r.goFiles {
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if mark.MatchString(c.Text) {
					bad = append(bad, fmt.Sprintf("%s: %s; file an issue instead", f.pos(c), mark.FindString(c.Text)))
				}
			}
		}
	}
	return bad
}

// checkPins looks at the modules that link Kubernetes into something of ours; the
// programs of e2e/tools are built apart, each with what it was released with.
func checkPins(r *repository) (bad []string) {
	require := regexp.MustCompile(`(?m)^(?:require|replace)?\s+(?:\S+ => )?(\S+) (v\S+)`)
	release := regexp.MustCompile(`^v[01](\.[1-9]\d*\.\d+)$`) // k8s.io/kubernetes v1.36.3 belongs to k8s.io/api v0.36.3
	const minor = ".36."
	first := ""
	for _, name := range []string{"go.mod", controlPlane + "/go.mod"} {
		for _, m := range regexp.MustCompile(`(?m)^.*`+regexp.QuoteMeta(module)+`.*$`).FindAllString(r.files[name], -1) {
			if !strings.HasPrefix(m, "module ") {
				bad = append(bad, fmt.Sprintf("%s: %q; our modules know nothing of each other", name, m))
			}
		}
		for _, m := range require.FindAllStringSubmatch(r.files[name], -1) {
			mod, version := m[1], m[2]
			if mod == "github.com/container-storage-interface/spec" && version != "v1.12.0" {
				bad = append(bad, fmt.Sprintf("%s: %s %s; only v1.12.0", name, mod, version))
			}
			v := release.FindStringSubmatch(version) // k8s.io/utils and klog are released apart
			if v == nil || !strings.HasPrefix(mod, "k8s.io/") {
				continue
			}
			if first == "" && strings.HasPrefix(v[1], minor) {
				first = v[1]
			}
			if v[1] != first || !strings.HasPrefix(v[1], minor) {
				bad = append(bad, fmt.Sprintf("%s: %s %s; all k8s.io modules at one v0%sx, not at others than v0%s", name, mod, version, minor, cmp.Or(first, minor+"x")))
			}
		}
	}
	return bad
}

// checkTargets looks for make's targets where a line begins with them or quotes them, and
// in the matrix of a workflow.
func checkTargets(r *repository) (bad []string) {
	const gate, workflows = ".ci/run", ".github/workflows/"
	pullRequests := ""
	for name, text := range r.files {
		if strings.HasPrefix(name, workflows) && strings.Contains(text, "pull_request:") {
			pullRequests += text
		}
	}
	target := regexp.MustCompile("(?m)(?:^(?:step )?|`|- run: )make ([a-z][a-z0-9-]*)")
	matrix := regexp.MustCompile(`(?m)^ +make:\n((?: +- .*\n)+)`)
	for _, name := range sortedKeys(r.files) {
		var named []string
		if strings.HasSuffix(name, ".md") || name == gate || strings.HasPrefix(name, workflows) {
			for _, m := range target.FindAllStringSubmatch(r.files[name], -1) {
				named = append(named, m[1])
			}
			for _, m := range matrix.FindAllStringSubmatch(r.files[name], -1) {
				for _, line := range strings.Split(strings.TrimSpace(m[1]), "\n") {
					named = append(named, strings.Fields(line)[1])
				}
			}
		}
		for _, t := range named {
			if !strings.Contains("\n"+r.files["Makefile"], "\n"+t+":") {
				bad = append(bad, fmt.Sprintf("%s: make %s; the Makefile has no such target", name, t))
			}
			// A workflow may have the whole of which the gate has a part.
			if name == gate && !regexp.MustCompile(`- run: make `+strings.TrimSuffix(t, "-short")+`\b`).MatchString(pullRequests) {
				bad = append(bad, fmt.Sprintf("%s: make %s; no workflow for pull requests runs it", name, t))
			}
		}
	}
	return bad
}

func checkMachinePaths(r *repository) (bad []string) {
	machine := regexp.MustCompile(`(?:^|[^\w.$})/-])/(?:work|root|home)/|\.\./shared\b`)
	for _, name := range sortedKeys(r.files) {
		for i, line := range strings.Split(r.files[name], "\n") {
			if m := machine.FindString(line); m != "" {
				bad = append(bad, fmt.Sprintf("%s:%d: %q; take the path from the caller or make it relative", name, i+1, strings.TrimSpace(m)))
			}
		}
	}
	return bad
}
