//! Who asks, and who hears it.

use std::path::Path;

use hwb_net::registry::{BlobUpload, CredentialOrigin, CredentialSources, Login, Registry, Secret};
use hwb_sandbox::Cancel;
use hwb_sandbox::host::{self, HostCommand};
use hwb_testkit::registry::{Access, Fault, Registry as Server};

use crate::{Client, LAYER, auth_file, explain, fetch_image, image, layer, opener, put_image, settings};

/// `me` and `hunter2`, as files have them.
const ME: &str = "bWU6aHVudGVyMg==";

/// A client that takes credentials from a file with this text, in which `HOST` is the server.
fn client(server: &Server, folder: &Path, text: &str) -> Client {
    let file = auth_file(folder, &text.replace("HOST", &server.address().to_string()));
    let mut settings = settings([server]);
    let path = format!("{}:/usr/bin:/bin", folder.display());
    settings.credentials = CredentialSources {
        files: vec![folder.join("absent.json"), file],
        env: [("PATH".into(), path.into())].into(),
    };
    Client::with(settings)
}

/// Makes a program that keeps credentials.
///
/// It is written by a process of its own: nobody here has it open for writing when it is run.
fn install_helper(folder: &Path, name: &str, script: &str) {
    let command = HostCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), "umask 022; cat >\"$0\" && chmod 755 \"$0\"".into(), name.into()],
        env: [("PATH".into(), "/usr/bin:/bin".into())].into(),
        cwd: folder.to_owned(),
        input: format!("#!/bin/sh\n{script}\n").into_bytes(),
        timeout: None,
    };
    assert!(host::run(&command, &Cancel::new().unwrap()).unwrap().status.is_success());
}

/// Pulls and pushes; says what came of both, without the name of the folder.
fn try_both(server: &Server, client: &Client, folder: &Path) -> [String; 2] {
    let (reference, blob, open) = (image(server, "team/app:1"), layer(), opener(LAYER));
    let upload = BlobUpload { blob: &blob, from: None, open: &open };
    let pulled = fetch_image(client, &reference).map(|_| "pulled".to_owned());
    let pushed =
        client.registry.push_blob(&image(server, "team/new:1"), &upload).map(|pushed| format!("{pushed:?}"));
    [pulled, pushed].map(|done| {
        let shown = done.unwrap_or_else(|error| {
            let debug = format!("{error:?}");
            assert!(!debug.contains("hunter2") && !debug.contains(ME), "{debug}");
            let shown = explain(&error, server);
            shown.split_once(": ").map_or(shown.clone(), |(_, source)| source.to_owned())
        });
        shown.replace(&folder.display().to_string(), "FOLDER")
    })
}

#[test]
fn credentials_open_what_they_are_for() {
    let check = |access: Access, text: &str, expect: [&str; 2]| {
        let (server, folder) = (Server::with(access.clone()), tempfile::tempdir().unwrap());
        put_image(&server, "team/app", "1");
        let client = client(&server, folder.path(), text);
        let found = try_both(&server, &client, folder.path());
        for (found, expect) in found.iter().zip(expect) {
            assert!(found.starts_with(expect), "{access:?} {text}: {found}");
        }
    };
    let good = format!(r#"{{"auths":{{"HOST":{{"auth":"{ME}"}}}}}}"#);
    let bad = r#"{"auths":{"HOST":{"auth":"bWU6d3Jvbmc="}}}"#;
    let password = || Access::Password("me", "hunter2");
    let token = || Access::Token("me", "hunter2");
    let identity = || Access::Identity("hunter2");
    let said = "(UNAUTHORIZED: as the test wants it)";
    let nobody =
        |path: &str| format!("`http://HOST/v2/team/{path}` was refused {said}; no credentials were sent");
    let sent = |path: &str| {
        format!(
            "`http://HOST/v2/team/{path}` was refused {said}; credentials were sent from `FOLDER/config.json`"
        )
    };
    let (manifest, blob) = ("app/manifests/1", "new/blobs/LAYER");
    check(password(), &good, ["pulled", "Uploaded"]);
    check(password(), bad, [&sent(manifest), &sent(blob).replace(&format!(" {said}"), "")]);
    check(password(), "{}", [&nobody(manifest), &nobody(blob).replace(&format!(" {said}"), "")]);
    // What is kept for a longer name goes first.
    let longer = format!(r#"{{"auths":{{"HOST":{{"auth":"bWU6d3Jvbmc="}},"HOST/team":{{"auth":"{ME}"}}}}}}"#);
    check(password(), &longer, ["pulled", "Uploaded"]);
    check(token(), &good, ["pulled", "Uploaded"]);
    let realm = "cannot get a token from `http://HOST/token`: `http://HOST/token` was refused \
                 (UNAUTHORIZED: as the test wants it); credentials were sent from `FOLDER/config.json`";
    check(token(), bad, [realm, realm]);
    // Everybody may pull.
    let refused = "`http://HOST/v2/team/new/blobs/uploads/` was refused (UNAUTHORIZED: as the test wants it); no credentials";
    check(token(), "{}", ["pulled", refused]);
    check(
        identity(),
        r#"{"auths":{"HOST":{"auth":"bWU6","identitytoken":"hunter2"}}}"#,
        ["pulled", "Uploaded"],
    );
    check(identity(), r#"{"auths":{"HOST":{"identitytoken":"wrong"}}}"#, [realm, realm]);
    check(password(), "[", ["`FOLDER/config.json` is not the configuration of a container tool: "; 2]);
}

#[test]
fn helpers_are_asked_and_told() {
    let check = |script: &str, expect: &str| {
        let (server, folder) =
            (Server::with(Access::Password("me", "hunter2")), tempfile::tempdir().unwrap());
        put_image(&server, "team/app", "1");
        install_helper(folder.path(), "docker-credential-test", script);
        let client = client(&server, folder.path(), r#"{"credHelpers":{"HOST":"test"},"auths":{"HOST":{}}}"#);
        let [found, _] = try_both(&server, &client, folder.path());
        assert_eq!(found, expect, "{script}");
    };
    check(
        r#"[ "$1" = get ] && read -r server && echo "{\"ServerURL\":\"$server\",\"Username\":\"me\",\"Secret\":\"hunter2\"}""#,
        "pulled",
    );
    let nobody = "`http://HOST/v2/team/app/manifests/1` was refused (UNAUTHORIZED: as the test wants it); no credentials were sent";
    check("echo credentials not found in native keychain; exit 1", nobody);
    let failed = "`docker-credential-test` failed to get the credentials of `HOST`";
    check("echo the keychain is locked >&2; exit 1", &format!("{failed}: the keychain is locked"));
    check("exit 3", &format!("{failed}: it exited with code 3"));
    check("echo hunter2", &format!("{failed}: its answer is not of the form that was agreed on"));
    check(
        r#"echo '{"Username":"me","Secret":"wrong"}'"#,
        "`http://HOST/v2/team/app/manifests/1` was refused (UNAUTHORIZED: as the test wants it); \
         credentials were sent from `docker-credential-test`, which `FOLDER/config.json` names",
    );
    let (server, folder) = (Server::with(Access::Password("me", "x")), tempfile::tempdir().unwrap());
    for (name, expect) in [
        ("absent", "cannot ask `docker-credential-absent` for credentials: "),
        (
            "../x",
            "`FOLDER/config.json` names the credential helper `../x`, which is not the name of a program",
        ),
    ] {
        let client = client(&server, folder.path(), &format!(r#"{{"credsStore":"{name}"}}"#));
        let [found, _] = try_both(&server, &client, folder.path());
        assert!(found.starts_with(expect), "{found}");
    }
}

#[test]
fn tokens_are_got_once_and_anew_when_they_are_worth_nothing() {
    let (server, folder) = (Server::with(Access::Token("me", "hunter2")), tempfile::tempdir().unwrap());
    put_image(&server, "team/app", "1");
    let client = client(&server, folder.path(), "{}");
    let reference = image(&server, "team/app:1");
    let tokens = || server.asked().iter().filter(|line| line.starts_with("GET /token")).count();
    for _ in 0..3 {
        fetch_image(&client, &reference).unwrap();
    }
    assert_eq!((tokens(), server.requests().len()), (1, 8));
    server.forget_tokens();
    fetch_image(&client, &reference).unwrap();
    assert_eq!((tokens(), server.requests().len()), (2, 12));
    // Now it is known beforehand that one is needed.
    drop(fetch_image(&client, &image(&server, "team/other:1")));
    assert_eq!((tokens(), server.requests().len()), (3, 14));
}

#[test]
fn nobody_else_hears_a_secret() {
    let (server, storage) = (Server::with(Access::Password("me", "hunter2")), Server::open());
    let folder = tempfile::tempdir().unwrap();
    put_image(&server, "team/app", "1");
    put_image(&storage, "team/app", "1");
    let good = format!(r#"{{"auths":{{"HOST":{{"auth":"{ME}"}}}}}}"#);
    let client = client(&server, folder.path(), &good);
    let path = "/v2/team/app/manifests/1";
    let asked = || fetch_image(&client, &image(&server, "team/app:1"));
    asked().unwrap();
    server.fault(&format!("GET {path}"), Fault::Redirect(format!("http://{}{path}", storage.address())));
    asked().unwrap();
    // Not even if he asks.
    let challenge = vec![("WWW-Authenticate", "Basic realm=\"storage\"".to_owned())];
    server.fault(&format!("GET {path}"), Fault::Redirect(format!("http://{}{path}", storage.address())));
    storage.fault("GET", Fault::Answer(401, challenge, String::new()));
    asked().unwrap_err();
    assert!(storage.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    assert_eq!(storage.requests().len(), 2);
    // What the registry repeats is not shown.
    let echo = format!(r#"{{"errors":[{{"message":"you said {ME}, that is hunter2"}}]}}"#);
    server.fault(&format!("GET {path}"), Fault::Answer(400, vec![], echo));
    let shown = explain(&asked().unwrap_err(), &server);
    assert!(shown.ends_with("(you said …, that is …)"), "{shown}");
    let debug =
        format!("{:?} {:?}", client.registry, Login { user: "me".into(), password: Secret::new("hunter2") });
    assert!(!debug.contains("hunter2"), "{debug}");
}

/// Whether `me` may in.
fn enter(
    registry: &Registry,
    server: &Server,
    password: &str,
    file: &Path,
) -> Result<CredentialOrigin, String> {
    let login = Login { user: "me".to_owned(), password: Secret::new(password) };
    let host = server.address().to_string();
    registry.login(&host, &login, file).map_err(|error| explain(&error, server))
}

#[test]
fn a_login_is_tried_and_kept_and_forgotten() {
    for access in [Access::Password("me", "hunter2"), Access::Token("me", "hunter2")] {
        let (server, folder) = (Server::with(access), tempfile::tempdir().unwrap());
        put_image(&server, "team/app", "1");
        let client = client(&server, folder.path(), r#"{"other":[1]}"#);
        let file = folder.path().join("config.json");
        let text = || fs_err::read_to_string(&file).unwrap();
        let error = enter(&client.registry, &server, "wrong", &file).unwrap_err();
        assert!(error.starts_with("failed to log in to `HOST`: "), "{error}");
        assert!(error.ends_with("credentials were sent from this login"), "{error}");
        assert_eq!(text(), r#"{"other":[1]}"#);
        let kept = enter(&client.registry, &server, "hunter2", &file).unwrap();
        assert_eq!(kept, CredentialOrigin::File(file.clone()));
        assert!(text().contains(ME) && text().contains("other"), "{}", text());
        let again = Client::with({
            let mut settings = settings([&server]);
            settings.credentials.files = vec![file.clone()];
            settings
        });
        let both = try_both(&server, &again, folder.path());
        assert_eq!(both, ["pulled", "Uploaded"]);
        let host = server.address().to_string();
        assert_eq!(again.registry.logout(&host).unwrap(), [CredentialOrigin::File(file.clone())]);
        assert!(!text().contains(ME), "{}", text());
        assert_eq!(again.registry.logout(&host).unwrap(), []);
        // For some of its repositories only.
        let login = Login { user: "me".to_owned(), password: Secret::new("hunter2") };
        again.registry.login(&format!("http://{host}/team/"), &login, &file).unwrap();
        assert!(text().contains(&format!("\"{host}/team\"")), "{}", text());
        assert_eq!(again.registry.logout(&host).unwrap(), []);
        assert_eq!(again.registry.logout(&format!("{host}/team")).unwrap().len(), 1);
        again.registry.login("no registry", &login, &file).unwrap_err();
    }
}

#[test]
fn a_login_is_kept_where_the_file_says() {
    // For all repositories, or for some.
    for place in ["", "/team"] {
        let (server, folder) =
            (Server::with(Access::Password("me", "hunter2")), tempfile::tempdir().unwrap());
        let kept = folder.path().join("kept");
        let script = format!(
            r#"cd '{}' && case $1 in
            store) cat >kept ;;
            get) read -r server; grep -sF "\"$server\"" kept || {{ echo credentials not found in native keychain; exit 1; }} ;;
            erase) rm kept ;;
            esac"#,
            folder.path().display()
        );
        install_helper(folder.path(), "docker-credential-test", &script);
        put_image(&server, "team/app", "1");
        let client = client(&server, folder.path(), r#"{"credsStore":"test"}"#);
        let (file, name) = (folder.path().join("config.json"), format!("{}{place}", server.address()));
        let login = Login { user: "me".to_owned(), password: Secret::new("hunter2") };
        let origin = client.registry.login(&name, &login, &file).unwrap();
        let expect =
            CredentialOrigin::Helper { program: "docker-credential-test".to_owned(), file: file.clone() };
        assert_eq!(origin, expect);
        let text = fs_err::read_to_string(&file).unwrap();
        assert!(text.contains("auths") && !text.contains(ME), "{text}");
        assert!(kept.exists());
        assert_eq!(try_both(&server, &client, folder.path()), ["pulled", "Uploaded"]);
        let erased = client.registry.logout(&name).unwrap();
        assert_eq!(erased, [expect, CredentialOrigin::File(file)]);
        assert!(!kept.exists());
    }
}
