/* Runs the command line's program as an operator does, against a fake node. */
#ifndef TEST_CLI_RUN_H
#define TEST_CLI_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "test/unit/admin/fake_node.h"

extern struct fake_server server;

struct run {
    int code;
    char out[1 << 20], err[1 << 16];
    size_t out_len;
};
extern struct run r; /* of the last one */

/* Runs "turnpike ARGS" (split at blanks; "_" stands for a blank inside an argument) with `input` on its
 * standard input; its exit code. */
int run_with(const char *input, const char *args);
int run(const char *args);
void expect_in(const char *text, const char *part);
json_t *out_json(void); /* the output, parsed; the caller's */

#endif
