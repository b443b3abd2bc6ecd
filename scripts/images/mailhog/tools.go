//go:build tools

// Package mailhog names the program that this module builds.
package mailhog

import _ "github.com/mailhog/MailHog"
