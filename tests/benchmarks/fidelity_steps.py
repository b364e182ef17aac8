"""The stories that touch every operation of the emulator once, as good requests.

One line is one request: method, path, parameters (a form, or JSON for API v2), and after `>` what to remember of the
answer for later lines. `CLOCK` moves the emulator's time. `$now` and its kin are the emulator's time when the line is
reached. Each story stands on those before it, as a seller's month does.
"""

from __future__ import annotations

from typing import Final

CUSTOMERS: Final = """
POST /v1/customers email=ann@example.com&name=Ann&phone=1&metadata[a]=b > customer
POST /v1/customers/$customer description=first&address[city]=Bern
GET /v1/customers/$customer
GET /v1/customers limit=3&email=ann@example.com
GET /v1/customers/search query=email:'ann@example.com'
POST /v1/customers/$customer/balance_transactions amount=-50&currency=usd > transaction
GET /v1/customers/$customer/balance_transactions
GET /v1/customers/$customer/balance_transactions/$transaction
POST /v1/customers/$customer/balance_transactions/$transaction description=goodwill
POST /v1/customers email=gone@example.com > gone
DELETE /v1/customers/$gone
GET /v1/customers/$gone
POST /v1/payment_methods/pm_card_visa/attach customer=$customer > card
GET /v1/payment_methods/$card
GET /v1/customers/$customer/payment_methods type=card
GET /v1/customers/$customer/payment_methods/$card
POST /v1/payment_methods/pm_card_mastercard/attach customer=$customer > spare
POST /v1/payment_methods/$spare/detach
POST /v1/customers/$customer invoice_settings[default_payment_method]=$card
"""

CATALOGUE: Final = """
POST /v1/products name=Calls&unit_label=call > product
POST /v1/products/$product description=Calls+of+tools
GET /v1/products/$product
GET /v1/products active=true
POST /v1/products name=Unsold > unsold
DELETE /v1/products/$unsold
POST /v1/billing/meters display_name=Calls&event_name=calls&default_aggregation[formula]=sum > meter
POST /v1/billing/meters/$meter display_name=All+calls
GET /v1/billing/meters/$meter
GET /v1/billing/meters status=active
POST /v1/billing/meters display_name=Old&event_name=old&default_aggregation[formula]=count > old
POST /v1/billing/meters/$old/deactivate
POST /v1/billing/meters/$old/reactivate
POST /v1/prices currency=usd&unit_amount=50&product=$product&lookup_key=calls$METERED > price
POST /v1/prices/$price nickname=usage
GET /v1/prices/$price expand[]=product&expand[]=currency_options
POST /v1/prices currency=usd&product=$product&billing_scheme=tiered&tiers_mode=graduated$TIERS$METERED > tiered
GET /v1/prices/$tiered expand[]=tiers
POST /v1/prices currency=usd&unit_amount=2000&product=$product&recurring[interval]=month > fee
POST /v1/prices currency=usd&unit_amount=500&product_data[name]=Pack > pack
GET /v1/prices type=recurring&product=$product
POST /v1/entitlements/features lookup_key=export&name=Export > feature
POST /v1/entitlements/features/$feature name=Exports
GET /v1/entitlements/features/$feature
GET /v1/entitlements/features lookup_key=export
POST /v1/products/$product/features entitlement_feature=$feature > attached
GET /v1/products/$product/features/$attached
GET /v1/products/$product/features
POST /v1/entitlements/features lookup_key=search&name=Search > search
POST /v1/products/$product/features entitlement_feature=$search > extra
DELETE /v1/products/$product/features/$extra
"""

HOOKS: Final = """
POST /v1/webhook_endpoints url=http://127.0.0.1:9/hook&enabled_events[]=charge.refunded > hook
POST /v1/webhook_endpoints/$hook disabled=true&description=idle
GET /v1/webhook_endpoints/$hook
GET /v1/webhook_endpoints limit=2
DELETE /v1/webhook_endpoints/$hook
POST /v2/core/event_destinations {"name": "thin", "type": "webhook_endpoint", "event_payload": "thin", \
"enabled_events": ["v1.billing.meter.no_meter_found"], "webhook_endpoint": {"url": "http://127.0.0.1:9/thin"}, \
"include": ["webhook_endpoint.url", "webhook_endpoint.signing_secret"]} > destination
POST /v2/core/event_destinations/$destination {"description": "thin events"}
GET /v2/core/event_destinations/$destination include[0]=webhook_endpoint.url
GET /v2/core/event_destinations limit=5
POST /v2/core/event_destinations/$destination/disable
POST /v2/core/event_destinations/$destination/enable
DELETE /v2/core/event_destinations/$destination
"""

CREDITS: Final = """
POST /v1/billing/credit_grants name=Starter&$GRANT > grant
POST /v1/billing/credit_grants/$grant metadata[pack]=starter
GET /v1/billing/credit_grants/$grant expand[]=customer
GET /v1/billing/credit_grants customer=$customer
POST /v1/billing/credit_grants $GRANT&category=promotional > voided
POST /v1/billing/credit_grants/$voided/void
POST /v1/billing/credit_grants $GRANT&expires_at=$next_year > expired
POST /v1/billing/credit_grants/$expired/expire
GET /v1/billing/credit_balance_summary customer=$customer&filter[type]=credit_grant&filter[credit_grant]=$grant
GET /v1/billing/credit_balance_transactions customer=$customer > movement=data.0.id
GET /v1/billing/credit_balance_transactions/$movement expand[]=credit_grant
POST /v1/billing/alerts $ALERT&title=First > alert
GET /v1/billing/alerts/$alert expand[]=usage_threshold.meter
GET /v1/billing/alerts meter=$meter
POST /v1/billing/alerts $ALERT&title=Second > second
POST /v1/billing/alerts/$second/deactivate
POST /v1/billing/alerts/$second/activate
POST /v1/billing/alerts/$second/archive
"""

USAGE: Final = """
POST /v1/subscriptions customer=$customer&items[0][price]=$price&items[1][price]=$fee > subscription
GET /v1/subscriptions/$subscription expand[]=latest_invoice > period_end=items.data.0.current_period_end
POST /v1/subscriptions/$subscription metadata[plan]=pro&description=Pro
GET /v1/subscriptions customer=$customer
GET /v1/customers/$customer expand[]=subscriptions
GET /v1/subscription_items subscription=$subscription > item=data.0.id
GET /v1/subscription_items/$item
POST /v1/subscription_items/$item metadata[a]=b
POST /v1/subscription_items subscription=$subscription&price=$tiered > added
DELETE /v1/subscription_items/$added
POST /v1/billing/meter_events event_name=calls&identifier=first&$PAYLOAD
POST /v1/billing/meter_event_adjustments event_name=calls&type=cancel&cancel[identifier]=first
POST /v1/billing/meter_events event_name=calls&$PAYLOAD
POST /v1/billing/meter_events event_name=nobodys&$PAYLOAD
POST /v2/billing/meter_events {"event_name": "calls", \
"payload": {"stripe_customer_id": "$customer", "value": "2"}}
POST /v2/billing/meter_event_session > token=authentication_token
POST /v2/billing/meter_event_stream {"events": [{"event_name": "calls", \
"payload": {"stripe_customer_id": "$customer", "value": "1"}}]}
GET /v1/billing/meters/$meter/event_summaries customer=$customer&start_time=$hour_ago&end_time=$in_an_hour
GET /v1/entitlements/active_entitlements customer=$customer > entitlement=data.0.id
GET /v1/entitlements/active_entitlements/$entitlement expand[]=feature
POST /v1/invoices/create_preview customer=$customer&subscription=$subscription
CLOCK $in_an_hour
GET /v2/core/events limit=5 > thin=data.0.id
GET /v2/core/events/$thin
CLOCK $period_end
GET /v1/invoices customer=$customer > invoice=data.0.id
POST /v1/invoices/$invoice/finalize
POST /v1/invoices/$invoice/pay
GET /v1/invoice_payments invoice=$invoice > settled=data.0.id
GET /v1/invoice_payments/$settled
GET /v1/invoices/$invoice expand[]=customer&expand[]=parent.subscription_details.subscription
GET /v1/invoices/$invoice/lines limit=5
POST /v1/customers email=bob@example.com > bob
POST /v1/subscriptions customer=$bob&items[0][price]=$fee&payment_behavior=default_incomplete > unpaid=latest_invoice
GET /v1/credit_notes/preview invoice=$unpaid&amount=10
POST /v1/credit_notes invoice=$unpaid&amount=10&reason=order_change > note
POST /v1/credit_notes/$note memo=sorry
GET /v1/credit_notes/$note
GET /v1/credit_notes invoice=$unpaid
GET /v1/credit_notes/$note/lines
POST /v1/credit_notes/$note/void
POST /v1/invoices/$unpaid/void
POST /v1/subscriptions customer=$bob&items[0][price]=$fee&trial_period_days=1&$PAUSING > paused
CLOCK $in_two_days
POST /v1/subscriptions/$paused/resume
POST /v1/invoiceitems customer=$customer&amount=700&currency=usd > single
GET /v1/invoiceitems/$single
GET /v1/invoiceitems customer=$customer
POST /v1/invoices customer=$customer&pending_invoice_items_behavior=include&description=Extra
POST /v1/invoiceitems customer=$customer&amount=100&currency=usd > mistake
DELETE /v1/invoiceitems/$mistake
POST /v1/subscription_schedules from_subscription=$subscription > schedule
POST /v1/subscription_schedules/$schedule metadata[a]=b&end_behavior=release
GET /v1/subscription_schedules/$schedule
GET /v1/subscription_schedules customer=$customer
POST /v1/subscription_schedules/$schedule/release
DELETE /v1/subscriptions/$subscription invoice_now=true
POST /v1/subscriptions customer=$customer&items[0][price]=$price > planned
POST /v1/subscription_schedules from_subscription=$planned > dropped
POST /v1/subscription_schedules/$dropped/cancel
"""

PAYMENTS: Final = """
POST /v1/checkout/sessions mode=payment&success_url=https://example.com/ok&$SALE > session
POST /v1/checkout/sessions/$session metadata[a]=b
GET /v1/checkout/sessions/$session expand[]=line_items
GET /v1/checkout/sessions status=open
GET /v1/checkout/sessions/$session/line_items
POST /v1/checkout/sessions/$session/expire
POST /v1/payment_links $SALE > link
POST /v1/payment_links/$link active=false
GET /v1/payment_links/$link expand[]=line_items
GET /v1/payment_links active=false
GET /v1/payment_links/$link/line_items
POST /v1/payment_intents amount=900&currency=usd&customer=$customer&payment_method=$card&confirm=true > paid
GET /v1/payment_intents/$paid expand[]=payment_method&expand[]=customer
POST /v1/payment_intents amount=700&currency=usd&customer=$customer > intent
POST /v1/payment_intents/$intent description=later
POST /v1/payment_intents/$intent/confirm payment_method=$card
POST /v1/payment_intents amount=700&currency=usd > dropped
POST /v1/payment_intents/$dropped/cancel cancellation_reason=abandoned
GET /v1/payment_intents customer=$customer
POST /v1/setup_intents customer=$customer > setup
POST /v1/setup_intents/$setup description=later
POST /v1/setup_intents/$setup/confirm payment_method=pm_card_visa
GET /v1/setup_intents/$setup
POST /v1/setup_intents usage=on_session > unwanted
POST /v1/setup_intents/$unwanted/cancel cancellation_reason=abandoned
GET /v1/setup_intents customer=$customer
GET /v1/charges payment_intent=$paid > charge=data.0.id
POST /v1/charges/$charge metadata[a]=b
GET /v1/charges/$charge expand[]=customer
POST /v1/payment_intents amount=900&currency=usd&payment_method=pm_card_createDispute&confirm=true > taken
GET /v1/disputes payment_intent=$taken > dispute=data.0.id
GET /v1/disputes/$dispute
POST /v1/disputes/$dispute evidence[product_description]=Calls&submit=false
POST /v1/disputes/$dispute/close
POST /v1/refunds payment_intent=$paid&amount=100&reason=requested_by_customer > refund
POST /v1/refunds/$refund metadata[why]=asked
GET /v1/refunds/$refund
GET /v1/refunds payment_intent=$paid
POST /v1/billing_portal/configurations features[invoice_history][enabled]=true > portal
POST /v1/billing_portal/configurations/$portal business_profile[headline]=Hello
GET /v1/billing_portal/configurations/$portal
GET /v1/billing_portal/configurations active=true
POST /v1/billing_portal/sessions customer=$customer&return_url=https://example.com > visit
"""

CLOCKS: Final = """
POST /v1/test_helpers/test_clocks frozen_time=$now&name=month > clock
POST /v1/customers test_clock=$clock > frozen
GET /v1/test_helpers/test_clocks/$clock
GET /v1/test_helpers/test_clocks limit=2
POST /v1/test_helpers/test_clocks/$clock/advance frozen_time=$in_an_hour
GET /v1/customers/$frozen expand[]=test_clock
DELETE /v1/test_helpers/test_clocks/$clock
GET /v1/account
GET /v1/events type=customer.created > event=data.0.id
GET /v1/events/$event
"""

STORIES: Final = (CUSTOMERS, CATALOGUE, HOOKS, CREDITS, USAGE, PAYMENTS, CLOCKS)

#: Parameters that several lines share.
SHARED: Final = {
    "METERED": "&recurring[interval]=month&recurring[usage_type]=metered&recurring[meter]=$meter",
    "TIERS": "&tiers[0][up_to]=10&tiers[0][unit_amount]=9&tiers[1][up_to]=inf&tiers[1][unit_amount_decimal]=4.5",
    "GRANT": (
        "customer=$customer&amount[type]=monetary&amount[monetary][currency]=usd&amount[monetary][value]=30"
        "&applicability_config[scope][price_type]=metered"
    ),
    "ALERT": (
        "alert_type=usage_threshold&usage_threshold[meter]=$meter&usage_threshold[gte]=1"
        "&usage_threshold[recurrence]=one_time"
    ),
    "PAYLOAD": "payload[stripe_customer_id]=$customer&payload[value]=3",
    "PAUSING": "trial_settings[end_behavior][missing_payment_method]=pause",
    "SALE": "line_items[0][price]=$pack&line_items[0][quantity]=2",
}
