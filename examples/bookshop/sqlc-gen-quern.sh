#!/bin/sh
# sqlc takes no command with arguments.
exec go tool sqlc-gen-quern
