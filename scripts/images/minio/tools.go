//go:build tools

// Package minio names the program that this module builds.
package minio

import _ "github.com/minio/minio"
