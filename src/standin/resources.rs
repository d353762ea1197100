//! People, sessions, clients and organisations in the JSON of Clerk's APIs.

use serde_json::{Value, json};

use super::instance::{Instance, TEMPLATES};
use super::people::{Membership, Organization, Person};
use super::state::{Client, SESSION_LIFETIME, Session, Status};

/// A user, as the Backend API shows one.
pub(super) fn user(instance: &Instance, person: &Person) -> Value {
    let email_id = format!("idn_2{}", person.key);
    json!({
        "object": "user",
        "id": person.user_id,
        "username": null,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "image_url": "",
        "has_image": false,
        "primary_email_address_id": email_id,
        "primary_phone_number_id": null,
        "primary_web3_wallet_id": null,
        "email_addresses": [{
            "object": "email_address",
            "id": email_id,
            "email_address": person.email,
            "verification": { "object": "verification", "status": "verified", "strategy": "ticket" },
            "linked_to": [],
        }],
        "phone_numbers": [],
        "web3_wallets": [],
        "external_accounts": [],
        "enterprise_accounts": [],
        "passkeys": [],
        "external_id": null,
        "public_metadata": {},
        "private_metadata": {},
        "unsafe_metadata": {},
        "banned": instance.state().is_banned(&person.user_id),
        "locked": false,
        "two_factor_enabled": false,
        "password_enabled": true,
        "last_sign_in_at": null,
        "last_active_at": null,
        "created_at": 0,
        "updated_at": 0,
    })
}

/// A session, as the Backend API shows one.
pub(super) fn session(session: &Session) -> Value {
    let tasks = match session.status {
        Status::Pending => json!([{ "key": "choose-organization" }]),
        _ => Value::Null,
    };
    json!({
        "object": "session",
        "id": session.id,
        "user_id": session.user_id,
        "client_id": session.client_id,
        "status": session.status.name(),
        "actor": null,
        "last_active_organization_id": session.organization_id,
        "last_active_at": session.last_active_at,
        "latest_activity": session.activity.shown(),
        "expire_at": session.created_at + SESSION_LIFETIME,
        "abandon_at": session.created_at + 4 * SESSION_LIFETIME,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "tasks": tasks,
    })
}

/// A client, as the Backend API shows one.
pub(super) fn client(instance: &Instance, client: &Client) -> Value {
    let sessions = instance.state().live_sessions(&client.id, instance.now());
    let ids: Vec<&str> = sessions.iter().map(|session| &*session.id).collect();
    json!({
        "object": "client",
        "id": client.id,
        "session_ids": ids,
        "sessions": sessions.iter().map(session).collect::<Vec<_>>(),
        "sign_in_id": null,
        "sign_up_id": null,
        "last_active_session_id": client.current,
        "last_authentication_strategy": null,
        "created_at": client.created_at,
        "updated_at": client.updated_at,
    })
}

/// A session, as the Frontend API shows one to its own browser.
pub(super) fn own_session(instance: &Instance, held: &Session, origin: Option<&str>) -> Value {
    let mut value = session(held);
    let person = instance.person(&held.user_id);
    if let (Some(fields), Some(person)) = (value.as_object_mut(), person) {
        let mut own_user = user(instance, person);
        if let Some(own) = own_user.as_object_mut() {
            own.remove("private_metadata");
            own.insert("organization_memberships".to_owned(), memberships(person));
        }
        fields.insert("user".to_owned(), own_user);
        fields.insert("public_user_data".to_owned(), public_user_data(person));
        fields.insert(
            "factor_verification_age".to_owned(),
            json!([held.minutes(instance.now()), -1]),
        );
        let token = instance
            .session_token(held, origin, None)
            .map(|jwt| json!({ "object": "token", "jwt": jwt }));
        fields.insert("last_active_token".to_owned(), token.unwrap_or_default());
    }
    value
}

/// A client, as the Frontend API shows one to its own browser.
pub(super) fn own_client(instance: &Instance, client: &Client, origin: Option<&str>) -> Value {
    let sessions = instance.state().live_sessions(&client.id, instance.now());
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|session| own_session(instance, session, origin))
        .collect();
    json!({
        "object": "client",
        "id": client.id,
        "sessions": sessions,
        "sign_in": null,
        "sign_up": null,
        "last_active_session_id": client.current,
        "last_authentication_strategy": null,
        "cookie_expires_at": null,
        "captcha_bypass": true,
        "created_at": client.created_at,
        "updated_at": client.updated_at,
    })
}

/// An organisation.
pub(super) fn organization(organization: &Organization) -> Value {
    json!({
        "object": "organization",
        "id": organization.id,
        "name": organization.name,
        "slug": organization.slug,
        "image_url": "",
        "has_image": false,
        "members_count": null,
        "max_allowed_memberships": 0,
        "admin_delete_enabled": true,
        "public_metadata": {},
        "private_metadata": {},
        "created_at": 0,
        "updated_at": 0,
    })
}

/// All memberships of a person.
pub(super) fn memberships(person: &Person) -> Value {
    let one = |held: &Membership| {
        let permissions: Vec<String> = held.permissions.iter().map(ToString::to_string).collect();
        json!({
            "object": "organization_membership",
            "id": held.id,
            "role": held.role,
            "role_name": held.role.strip_prefix("org:").unwrap_or(&held.role),
            "permissions": permissions,
            "public_metadata": {},
            "private_metadata": {},
            "organization": organization(&held.organization),
            "public_user_data": public_user_data(person),
            "created_at": 0,
            "updated_at": 0,
        })
    };
    Value::Array(person.memberships.iter().map(one).collect())
}

/// The JWT templates.
pub(super) fn templates() -> Value {
    let one = |name: &str| {
        json!({
            "object": "jwt_template",
            "id": format!("jtmp_2{name}"),
            "name": name,
            "claims": {
                "email": "{{user.primary_email_address}}",
                "name": "{{user.full_name}}",
            },
            "lifetime": 60,
            "allowed_clock_skew": 5,
            "custom_signing_key": false,
            "signing_algorithm": "RS256",
            "created_at": 0,
            "updated_at": 0,
        })
    };
    Value::Array(TEMPLATES.into_iter().map(one).collect())
}

/// The instance's public configuration, as far as clerk-js asks for it.
pub(super) fn environment(instance: &Instance) -> Value {
    let url = instance.url();
    json!({
        "auth_config": {
            "object": "auth_config",
            "id": "aconf_2standin",
            "single_session_mode": false,
            "claimed_at": null,
            "reverification": true,
            "first_factors": ["ticket"],
            "second_factors": [],
            "email_address_verification_strategies": [],
            "identification_strategies": ["email_address"],
        },
        "display_config": {
            "object": "display_config",
            "id": "display_config_2standin",
            "instance_environment_type": "development",
            "application_name": "clerk-gate stand-in",
            "branded": false,
            "preferred_sign_in_strategy": "password",
            "home_url": url,
            "sign_in_url": format!("{url}/sign-in"),
            "sign_up_url": format!("{url}/sign-up"),
            "user_profile_url": format!("{url}/user"),
            "after_sign_in_url": url,
            "after_sign_up_url": url,
            "after_sign_out_all_url": url,
            "after_sign_out_one_url": format!("{url}/sign-in/choose"),
            "theme": {},
        },
        "user_settings": {
            "attributes": {},
            "social": {},
            "saml": { "enabled": false },
            "actions": { "delete_self": false, "create_organization": false },
            "sign_in": { "second_factor": { "required": false } },
            "sign_up": { "mode": "public", "progressive": true, "captcha_enabled": false },
            "password_settings": {},
        },
        "organization_settings": {
            "enabled": true,
            "force_organization_selection": false,
            "actions": { "admin_delete": false },
            "domains": { "enabled": false },
            "slug": { "disabled": false },
        },
        "maintenance_mode": false,
    })
}

fn public_user_data(person: &Person) -> Value {
    json!({
        "first_name": person.first_name,
        "last_name": person.last_name,
        "image_url": "",
        "has_image": false,
        "identifier": person.email,
        "user_id": person.user_id,
    })
}
