/* The tables of options that cli/commands.c refers to. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/cli.h"

extern const struct cli_option cli_dkim_generate_options[], cli_dkim_import_options[],
    cli_dkim_retire_options[], cli_dkim_remove_options[], cli_dkim_list_options[], cli_dkim_rekey_options[],
    cli_dkim_dns_options[], cli_dkim_check_options[], cli_no_options[], cli_list_options[],
    cli_cat_options[], cli_act_options[], cli_move_options[], cli_adopt_options[], cli_bounce_options[],
    cli_delete_options[], cli_summary_options[], cli_held_list_options[], cli_held_release_options[], cli_held_end_options[], cli_track_options[], cli_events_options[], cli_notify_status_options[],
    cli_top_options[], cli_trace_client_options[], cli_trace_server_options[], cli_probe_options[],
    cli_site_options[], cli_domain_options[], cli_site_backoff_options[], cli_site_resume_options[],
    cli_status_options[], cli_account_set_options[], cli_freeze_options[], cli_thaw_options[],
    cli_frozen_options[], cli_tenant_list_options[], cli_tenant_report_options[], cli_noted_options[], cli_secret_list_options[],
    cli_domain_prove_options[], cli_domain_list_options[], cli_domain_forget_options[],
    cli_secret_new_options[], cli_secret_import_options[], cli_suppression_list_options[],
    cli_operator_list_options[], cli_operator_add_options[], cli_operator_passwd_options[],
    cli_suppression_add_options[], cli_suppression_remove_options[], cli_sender_pin_options[], cli_sender_lift_options[],
    cli_sender_top_options[], cli_ip_show_options[], cli_site_show_options[], cli_ip_warm_options[], cli_limit_options[], cli_cluster_init_options[],
    cli_cluster_status_options[], cli_token_options[], cli_drain_options[], cli_leave_options[],
    cli_assign_options[], cli_ip_add_options[], cli_ip_set_options[], cli_ip_move_options[],
    cli_pool_float_options[], cli_policy_show_options[], cli_policy_test_reply_options[],
    cli_policy_apply_options[], cli_audit_options[], cli_account_list_options[], cli_account_add_options[],
    cli_passwd_options[], cli_remove_options[], cli_import_options[], cli_restore_options[],
    cli_recover_options[];

#endif
