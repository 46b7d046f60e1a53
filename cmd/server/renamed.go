package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// renamed maps the old name of a setting to its new one. Old names are accepted for one
// release, with a warning.
var renamed = map[string]string{"SHARE_INSERTS": "COALESCE_INSERTS"}

// acceptRenamed replaces old names of settings by the new ones, in the environment and in
// the returned arguments. It returns a warning for each old name. If both names are set,
// the new one takes precedence. fromFile holds the names of the variables of .env.
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
			_ = os.Setenv(now, value) // cannot fail for a name that kong accepts
			fromFile[now] = fromFile[old]
		}
	}
	return current, warnings
}

// flagName returns the name of a setting's flag, without leading dashes.
func flagName(setting string) string {
	return strings.ReplaceAll(strings.ToLower(setting), "_", "-")
}
