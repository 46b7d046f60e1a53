package main

type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

// Run prints what --help prints.
func (c helpCommand) Run(a *app) error {
	parser, exited, err := newParser(a.stdout, a.stderr)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(append(c.Command, "--help")); err != nil && !*exited {
		return usageError{err}
	}
	return nil
}
