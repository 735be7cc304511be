package openapi

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// printed are the types of answers that are looked at or printed, not read by
// programs, beside images.
var printed = []string{
	"application/pdf", "application/postscript",
	"application/zpl", "application/x-zpl", "application/epl", "application/x-epl", // for label printers
}

// isPrinted reports whether answers of a type hold no data that JSONPaths could
// name. All other types might be the same data in another dress (CSV, XML, a
// range such as */*), which a client could ask for.
func isPrinted(media string) bool {
	kind, of, _ := strings.Cut(media, "/")
	return slices.Contains(printed, media) || kind == "image" && of != "" && !strings.ContainsAny(of, "*+; ")
}

// media are the types of an operation's successful answers that are printed.
func (d *document) media(operation *yaml.Node) []string {
	var all []string
	for _, content := range d.contents(operation) {
		for key := range entries(content) {
			if media := strings.ToLower(key.Value); isPrinted(media) && !slices.Contains(all, media) {
				all = append(all, media)
			}
		}
	}
	slices.Sort(all)
	return all
}

// contents are what an operation's successful answers hold, by media type:
// those of 2xx, and where there are none, the default.
func (d *document) contents(operation *yaml.Node) []*yaml.Node {
	_, responses := d.field(operation, "responses")
	var all []*yaml.Node
	for code, response := range entries(responses) {
		if strings.HasPrefix(code.Value, "2") {
			_, content := d.field(d.follow(response), "content")
			all = append(all, content)
		}
	}
	if len(all) == 0 {
		_, response := d.field(responses, "default")
		_, content := d.field(d.follow(response), "content")
		all = append(all, content)
	}
	return all
}
