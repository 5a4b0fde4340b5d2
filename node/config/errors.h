/* What is wrong with a configuration: a bounded list of lines "file:line: key: reason". One thread at a time.
 */
#ifndef NODE_CONFIG_ERRORS_H
#define NODE_CONFIG_ERRORS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define CONFIG_ERRORS_MAX 100 /* the first hundred are kept, the rest counted */

struct config_error {
    uint32_t line; /* 0: about the file */
    bool warning;
    char *text; /* "/etc/turnpike/node.yaml:14: listeners[1].tls.key: cannot read /x/key.pem: ..." */
};

struct config_errors {
    struct config_error *v;
    uint32_t n;        /* kept, errors and warnings together */
    uint32_t errors;   /* errors seen, kept or not */
    uint32_t warnings; /* likewise */
};

void config_errors_init(struct config_errors *e);
void config_errors_fini(struct config_errors *e);

/* `key` may be NULL. The text is escaped as for a log line. */
void config_errors_add(struct config_errors *e, const char *file, uint32_t line, const char *key,
                       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void config_errors_warn(struct config_errors *e, const char *file, uint32_t line, const char *key,
                        const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* By line; a line's own in the order they were found. */
void config_errors_sort(struct config_errors *e);

#endif
