// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io"
	"strings"

	"github.com/podlv/podlv/sim/trace"
)

// The parts of the page. uplot is the library that draws its charts: make page-library
// fetches it.
//
//go:embed page
var pageFiles embed.FS

// uplotVersion is that of the library in page/uplot.
const uplotVersion = "1.6.32"

// scripts are those of the page, in their order.
var scripts = []string{"words.js", "charts.js", "nodes.js", "pods.js", "page.js"}

// Page writes the report and its trace as one HTML page that needs nothing else: its data
// is in it, compressed, and it loads nothing. A report without a trace has the figures
// alone.
func (r *Report) Page(w io.Writer) error {
	var missing error
	read := func(names ...string) string {
		var all strings.Builder
		for _, n := range names {
			text, err := pageFiles.ReadFile("page/" + n)
			missing = errors.Join(missing, err)
			all.Write(text)
		}
		return all.String()
	}
	data, err := r.pageData()
	if err != nil {
		return err
	}
	script := "(() => {\n'use strict';\n" + read(scripts...) + "})();"
	_, err = strings.NewReplacer(
		"@TITLE@", html.EscapeString(r.Scenario+" · podlv-sim"), "@SCENARIO@", html.EscapeString(r.Scenario),
		"@CSS@", read("page.css"), "@UPLOT_CSS@", read("uplot/uPlot.min.css"), "@UPLOT_JS@", read("uplot/uPlot.iife.min.js"), "@UPLOT_VERSION@", uplotVersion,
		"@JS@", script, "@DATA@", data,
	).WriteString(w, read("page.html"))
	return errors.Join(missing, err)
}

// pageData is the report and its trace as JSON, compressed, in base64.
func (r *Report) pageData() (string, error) {
	all := struct {
		Report *Report      `json:"report"`
		Trace  *trace.Trace `json:"trace"`
	}{r, r.Trace}
	if all.Trace == nil {
		all.Trace = &trace.Trace{}
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(all), z.Close()); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}
