/* Enhanced status codes for replies without one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "node/mail/status.h"

static void expect(unsigned code, enum smtp_client_stage stage, const char *want)
{
    uint8_t s[3];
    char text[16];
    mail_status_derive(code, stage, s);
    snprintf(text, sizeof text, "%u.%u.%u", s[0], s[1], s[2]);
    assert_string_equal(text, want);
}

static void by_code_and_stage(void **state)
{
    (void)state;
    expect(0, SMTP_CLIENT_STAGE_CONNECT, "4.4.1");
    expect(0, SMTP_CLIENT_STAGE_DATA, "4.4.2");
    expect(250, SMTP_CLIENT_STAGE_DOT, "2.0.0");
    expect(250, SMTP_CLIENT_STAGE_RCPT, "2.1.5");
    expect(354, SMTP_CLIENT_STAGE_DATA, "5.5.0");
    expect(421, SMTP_CLIENT_STAGE_MAIL, "4.3.2");
    expect(450, SMTP_CLIENT_STAGE_RCPT, "4.2.0");
    expect(450, SMTP_CLIENT_STAGE_MAIL, "4.0.0");
    expect(451, SMTP_CLIENT_STAGE_DOT, "4.3.0");
    expect(452, SMTP_CLIENT_STAGE_RCPT, "4.5.3");
    expect(452, SMTP_CLIENT_STAGE_MAIL, "4.3.1");
    expect(454, SMTP_CLIENT_STAGE_TLS, "4.7.0");
    expect(499, SMTP_CLIENT_STAGE_RCPT, "4.0.0");
    expect(500, SMTP_CLIENT_STAGE_RCPT, "5.5.2");
    expect(501, SMTP_CLIENT_STAGE_MAIL, "5.5.4");
    expect(503, SMTP_CLIENT_STAGE_DATA, "5.5.1");
    expect(521, SMTP_CLIENT_STAGE_MAIL, "5.3.2");
    expect(530, SMTP_CLIENT_STAGE_MAIL, "5.7.0");
    expect(535, SMTP_CLIENT_STAGE_AUTH, "5.7.8");
    expect(550, SMTP_CLIENT_STAGE_RCPT, "5.1.1");
    expect(550, SMTP_CLIENT_STAGE_MAIL, "5.0.0");
    expect(550, SMTP_CLIENT_STAGE_DOT, "5.0.0");
    expect(551, SMTP_CLIENT_STAGE_RCPT, "5.1.6");
    expect(552, SMTP_CLIENT_STAGE_RCPT, "5.2.2");
    expect(552, SMTP_CLIENT_STAGE_MAIL, "5.3.4");
    expect(552, SMTP_CLIENT_STAGE_DOT, "5.3.4");
    expect(553, SMTP_CLIENT_STAGE_RCPT, "5.1.3");
    expect(553, SMTP_CLIENT_STAGE_MAIL, "5.1.7");
    expect(554, SMTP_CLIENT_STAGE_BANNER, "5.3.2");
    expect(554, SMTP_CLIENT_STAGE_RCPT, "5.7.1");
    expect(554, SMTP_CLIENT_STAGE_DOT, "5.0.0");
    expect(555, SMTP_CLIENT_STAGE_MAIL, "5.5.4");
    expect(556, SMTP_CLIENT_STAGE_RCPT, "5.1.10");
}

/* The class is the reply's, whatever else is guessed. */
static void class_is_kept(void **state)
{
    (void)state;
    for (unsigned code = 400; code < 600; code++) {
        for (int stage = SMTP_CLIENT_STAGE_CONNECT; stage <= SMTP_CLIENT_STAGE_QUIT; stage++) {
            uint8_t s[3];
            mail_status_derive(code, (enum smtp_client_stage)stage, s);
            assert_int_equal(s[0], code / 100);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_code_and_stage),
                                        cmocka_unit_test(class_is_kept) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
