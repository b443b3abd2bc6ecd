// Names the release of Mailpit; it is built in its own module, which pins the rest.
module parsec-stack/mailpit

go 1.26.0

require github.com/axllent/mailpit v1.33.1
