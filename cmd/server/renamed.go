package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// renamed has the new name of each setting that had another one before. The old names are
// accepted for one release, with a warning.
var renamed = map[string]string{"SHARE_INSERTS": "COALESCE_INSERTS"}

// acceptRenamed replaces old names of settings by the new ones, in the environment and in
// the arguments that it returns, with a warning for each. If both names are set, the new
// one takes precedence. fromFile names the variables that come from .env.
func acceptRenamed(args []string, fromFile map[string]bool) (current, warnings []string) {
	warn := func(old, now string) {
		warnings = append(warnings, fmt.Sprintf("%s is deprecated: use its new name, %s", old, now))
	}
	current = slices.Clone(args)
	for _, old := range slices.Sorted(maps.Keys(renamed)) {
		now := renamed[old]
		for _, prefix := range []string{"--", "--no-"} {
			oldFlag, nowFlag := prefix+flagName(old), prefix+flagName(now)
			for i, arg := range current {
				if value, ok := strings.CutPrefix(arg, oldFlag); ok && (value == "" || value[0] == '=') {
					current[i] = nowFlag + value
					warn(oldFlag, nowFlag)
				}
			}
		}
		value := os.Getenv(old)
		if value == "" {
			continue
		}
		warn(old, now)
		if os.Getenv(now) == "" {
			_ = os.Setenv(now, value) // fails for no name that kong accepts
			fromFile[now] = fromFile[old]
		}
	}
	return current, warnings
}

// flagName returns the name of a setting's flag, without dashes before it.
func flagName(setting string) string {
	return strings.ReplaceAll(strings.ToLower(setting), "_", "-")
}
