/* The dashboard's files, built into the program from node/admin/ui/. Any thread. */
#ifndef NODE_ADMIN_UI_H
#define NODE_ADMIN_UI_H

#include <stddef.h>

/* Nothing but our own files, no script or style within the page, no markup made of text. */
#define UI_POLICY                                                                                            \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "          \
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "      \
    "trusted-types 'none'"

struct ui_file {
    const char *path, *type;
    const unsigned char *bytes;
    size_t n;
};

extern const struct ui_file ui_files[];
extern const size_t ui_nfiles;

/* NULL: there is none. */
const struct ui_file *ui_find(const char *path);

#endif
