// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// component is a part of an image, as CycloneDX 1.6 describes it.
type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref,omitempty"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	PURL    string `json:"purl,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// BOM is the bill of materials of an archive that WriteFile has written: a CycloneDX 1.6
// document with the Debian packages that its /var/lib/dpkg/status.d tells of, and for each Go
// program the modules that are in it, as the Go command has written them there. An image with
// neither is an error: nobody could tell what is in it.
func BOM(archive, name, version string) ([]byte, error) {
	files, err := ReadArchive(archive)
	if err != nil {
		return nil, err
	}
	var of []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &of); err != nil || len(of) != 1 {
		return nil, fmt.Errorf("%s: no archive of one image (%w)", archive, err)
	}
	var config struct{ Architecture string }
	if err := json.Unmarshal(files[of[0].Config], &config); err != nil {
		return nil, fmt.Errorf("%s: %w", archive, err)
	}
	var packages []map[string]string
	modules := map[string]component{} // by PURL: programs share them
	system := map[string]string{}
	for _, layer := range of[0].Layers {
		err := eachFile(bytes.NewReader(files[layer]), func(file string, data []byte) error {
			switch {
			case path.Dir(file) == "var/lib/dpkg/status.d":
				packages = append(packages, fields(string(data), ": "))
			case file == "usr/lib/os-release":
				system = fields(string(data), "=")
			case bytes.HasPrefix(data, []byte("\x7fELF")):
				for _, c := range goModules(version, data) {
					modules[c.PURL] = c
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
	}
	if len(packages) == 0 || len(modules) == 0 {
		return nil, fmt.Errorf("%s: %d Debian packages and %d Go modules: not an image of podlv", archive, len(packages), len(modules))
	}
	var parts []component
	for _, c := range modules {
		parts = append(parts, c)
	}
	for _, p := range packages {
		parts = append(parts, debian(p, system))
	}
	slices.SortFunc(parts, func(a, b component) int { return cmp.Compare(a.PURL, b.PURL) })
	text, err := json.MarshalIndent(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"serialNumber": uuid.NewSHA1(uuid.NameSpaceURL, files["index.json"]).URN(),
		"metadata":     map[string]any{"component": component{Type: "container", Ref: "image", Name: name, Version: version}, "properties": []map[string]string{{"name": "architecture", "value": config.Architecture}}},
		"components":   parts,
	}, "", "  ")
	return append(text, '\n'), err
}

// goModules are the modules that a program of Go was built of; none, when it is none of Go.
// The program itself has the version that it was built for: its module was built in a clone.
func goModules(version string, data []byte) []component {
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return nil // a program of C
	}
	module := func(name, version string) component {
		purl := "pkg:golang/" + strings.ToLower(name)
		if version != "" {
			purl += "@" + url.QueryEscape(version)
		}
		return component{Type: "library", Ref: purl, Name: name, Version: version, PURL: purl}
	}
	all := []component{module("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	own := module(info.Main.Path, "v"+strings.TrimPrefix(version, "v"))
	own.Type, own.Hashes = "application", []hash{{"SHA-256", fmt.Sprintf("%x", sha256.Sum256(data))}}
	own.PURL += "#" + strings.TrimPrefix(info.Path, info.Main.Path+"/")
	own.Ref = own.PURL
	all = append(all, own)
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		all = append(all, module(d.Path, d.Version))
	}
	return all
}

// debian is a package of Debian, by the fields of its control file.
func debian(p, system map[string]string) component {
	q := url.Values{"arch": {p["Architecture"]}}
	if system["ID"] != "" {
		q.Set("distro", system["ID"]+"-"+system["VERSION_ID"])
	}
	if source, _, _ := strings.Cut(p["Source"], " "); source != "" {
		q.Set("upstream", source)
	}
	purl := "pkg:deb/" + cmp.Or(system["ID"], "debian") + "/" + url.QueryEscape(p["Package"]) + "@" + url.QueryEscape(p["Version"]) + "?" + q.Encode()
	return component{Type: "library", Ref: purl, Name: p["Package"], Version: p["Version"], PURL: purl}
}

// fields are the lines "KEY<separator>VALUE" of a text, without quotes.
func fields(text, separator string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), separator); ok && !strings.HasPrefix(line, " ") {
			all[key] = strings.Trim(value, `"`)
		}
	}
	return all
}
