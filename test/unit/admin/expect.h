/* What the admin server's tests share: a server per test, and checks of its replies. */
#ifndef TEST_ADMIN_EXPECT_H
#define TEST_ADMIN_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/admin/http.h"

#include <jansson.h>

extern struct fake_server server;

int expect_setup(void **state);
int expect_teardown(void **state);
#define SERVED(test) cmocka_unit_test_setup_teardown(test, expect_setup, expect_teardown)

void sleep_ms(int ms);

/* The one form of an error, with this status and code; frees the reply. */
void expect_error(struct http_reply *r, int status, const char *code);
/* 400 over the unix socket. */
void expect_bad(const char *method, const char *target, const char *body);
/* 200 and JSON; frees the reply. */
json_t *expect_json(struct http_reply *r);
json_t *get_json(const char *target);
json_t *post_json(const char *target, const char *body);
/* Waits until so many live dialogues are sent. */
void expect_traces(uint32_t n);
json_int_t number(const json_t *j, const char *name);

#endif
