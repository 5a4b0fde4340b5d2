/* Certificates for tests: a CA, and leaves it signed, written to a folder that is removed at the end. */
#ifndef TEST_UNIT_NET_CERTS_H
#define TEST_UNIT_NET_CERTS_H

#include <stdint.h>

enum { CERTS_EC, CERTS_RSA };

/* A fresh folder; the same one until certs_clean. */
const char *certs_dir(void);
/* Path of a file in it. Valid for the program's life. */
const char *certs_path(const char *name);

/* NAME.pem and NAME.key for a comma-separated list of DNS names; "ca" itself is made on the first call. Ends
 * `days` from now (negative: expired). */
void certs_make(const char *name, int kind, const char *dns_names, int days);
const char *certs_ca(void);
/* As key.pem, but encrypted with a passphrase. */
void certs_make_locked(const char *name);
void certs_write(const char *name, const char *text);
void certs_clean(void);

#endif
