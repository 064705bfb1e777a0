package main

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"os"
	"text/tabwriter"
)

func rate(s Sample) float64 { return s.MsgsPerSec }
func cpu(s Sample) float64  { return s.CPUPerMsgUs }
func rss(s Sample) float64  { return float64(s.PeakRSS) }
func p50(s Sample) float64  { return s.P50Us }
func p99(s Sample) float64  { return s.P99Us }

func fsync(s Sample) float64 { return s.FsyncUs }

// ratio of the medians, natsd to peer; 0 where one of them is missing.
func ratio(r Result, f func(Sample) float64) float64 {
	p := median(r.Peer, f)
	if p == 0 {
		return 0
	}
	return median(r.Natsd, f) / p
}

// WriteTable prints medians, and behind the rate its spread over the rounds.
func WriteTable(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "row\tdriver\tmsgs/s\t(spread)\tpeer\tratio\tcpu µs/msg\tpeer\tratio\tpeak MiB\tpeer\tratio\tp50 µs\tpeer\tratio\tp99 µs\tpeer\tfsync µs\t")
	for _, r := range results {
		spread := values(r.Natsd, rate)
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f-%.0f\t%.0f\t%s\t%.2f\t%.2f\t%s\t%.0f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			r.Row, r.Driver, median(r.Natsd, rate), spread[0], spread[len(spread)-1], median(r.Peer, rate), times(ratio(r, rate)),
			median(r.Natsd, cpu), median(r.Peer, cpu), times(ratio(r, cpu)),
			median(r.Natsd, rss)/(1<<20), median(r.Peer, rss)/(1<<20), times(ratio(r, rss)),
			micros(median(r.Natsd, p50)), micros(median(r.Peer, p50)), times(ratio(r, p50)),
			micros(median(r.Natsd, p99)), micros(median(r.Peer, p99)), micros(median(r.Natsd, fsync)))
	}
	return t.Flush()
}

func times(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", v)
}

func micros(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

// WriteJSON writes every sample of every round.
func WriteJSON(file string, results []Result) error {
	b, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if file == "-" {
		_, err = os.Stdout.Write(b)
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// WriteSVG draws the ratio of the rates of each row as a bar, with a line at 1.
func WriteSVG(file, title string, results []Result) error {
	const rowHeight, left, unit, right = 18, 260, 180, 60
	most := 2.0
	for _, r := range results {
		most = max(most, ratio(r, rate))
	}
	width := left + int(most*unit) + right
	height := (len(results) + 2) * rowHeight
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(f, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(f, `<text x="4" y="14" font-weight="bold">%s: messages per second, natsd / peer</text>`+"\n", html.EscapeString(title))
	for i, r := range results {
		y := (i + 1) * rowHeight
		v := ratio(r, rate)
		fill := "#3a7d44"
		if v < 1 {
			fill = "#b3541e"
		}
		fmt.Fprintf(f, `<text x="4" y="%d">%s (%s)</text><rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d">%.2f</text>`+"\n",
			y+13, html.EscapeString(r.Row), r.Driver, left, y+3, v*unit, rowHeight-6, fill, left+v*unit+4, y+13, v)
	}
	fmt.Fprintf(f, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#333" stroke-dasharray="4 3"/>`+"\n</svg>\n", left+unit, left+unit, rowHeight, height)
	return f.Close()
}
