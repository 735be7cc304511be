package envoyproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Find is the path of an Envoy: $ENVOY_BIN, or .tools/envoy beside go.mod, or
// envoy on the PATH, in this order. `make envoy` fills .tools only where
// the PATH has no Envoy of the right version, so it comes before the PATH.
func Find() (string, error) {
	if bin := os.Getenv("ENVOY_BIN"); bin != "" {
		path, err := exec.LookPath(bin)
		if err != nil {
			return "", fmt.Errorf("find envoy by ENVOY_BIN: %w: correct or unset it", err)
		}
		return path, nil
	}
	if root, err := moduleRoot(); err == nil {
		if path, err := exec.LookPath(filepath.Join(root, ".tools", "envoy")); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", errors.New("find envoy: it is not in .tools, not on the PATH, and ENVOY_BIN is not set: run `make envoy`, which fetches it")
	}
	return path, nil
}

// moduleRoot is the nearest folder upwards that holds a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find go.mod: no folder upwards holds it")
		}
		dir = parent
	}
}
