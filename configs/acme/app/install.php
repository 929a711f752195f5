<?php
// Installs the site, or raises its content to the version of this release. Safe to run on several
// web servers at once: one does it, the others find it done. Content never goes back, so a server
// of the old release that comes up during an upgrade does no harm.
//
//   install.php          does it
//   install.php --check  exits 0 if there is nothing to do

if (PHP_SAPI !== 'cli') {
    exit(1);
}
$check = in_array('--check', $argv, true);
define('WP_INSTALLING', true);
require __DIR__ . '/wordpress.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';

$version = trim(file_get_contents(__DIR__ . '/VERSION'));

function done(string $version): bool
{
    global $wpdb;
    $wpdb->suppress_errors(true); // no tables yet is an answer
    $row = $wpdb->get_var("SELECT option_value FROM {$wpdb->options} WHERE option_name = 'acme_version'");
    $wpdb->suppress_errors(false);
    return $row !== null && version_compare($row, $version, '>=');
}

if ($check) {
    exit(done($version) ? 0 : 1);
}
if ($wpdb->get_var("SELECT GET_LOCK('acme_install', 120)") !== '1') {
    fwrite(STDERR, "another server has been installing for two minutes\n");
    exit(1);
}
wp_cache_flush();
if (!done($version)) {
    if (!is_blog_installed()) {
        $password = trim(file_get_contents('/etc/acme/admin-password'));
        wp_install('Acme Hosting', 'acme', 'webmaster@acme.test', false, '', $password);
    }
    wp_upgrade();
    update_option('permalink_structure', '/%postname%/');
    foreach (glob(__DIR__ . '/content/*.html') as $file) {
        $slug = basename($file, '.html');
        $body = file_get_contents($file);
        preg_match('/<!-- title: (.*?) -->\s*/', $body, $title);
        $page = [
            'post_type' => 'page',
            'post_status' => 'publish',
            'post_author' => 1,
            'post_name' => $slug,
            'post_title' => $title[1] ?? $slug,
            'post_content' => str_replace($title[0] ?? '', '', $body),
        ];
        $old = get_page_by_path($slug);
        if ($old) {
            $page['ID'] = $old->ID;
        }
        $id = wp_insert_post($page, true);
        if (is_wp_error($id)) {
            fwrite(STDERR, "$slug: " . $id->get_error_message() . "\n");
            exit(1);
        }
        if ($slug === 'home') {
            update_option('show_on_front', 'page');
            update_option('page_on_front', $id);
        }
    }
    flush_rewrite_rules(false);
    update_option('acme_version', $version); // last: it says that all of this was done
}
$wpdb->query("DO RELEASE_LOCK('acme_install')");
