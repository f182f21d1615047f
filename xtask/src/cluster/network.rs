//! A bridge on the machine, a link from it into each node, and the routes between the nodes' pods.

use std::path::Path;

use anyhow::Result;

use super::state::{Cluster, Node};
use crate::process::Process;

/// Makes the bridge.
pub fn create_bridge(cluster: &Cluster) -> Result<()> {
    let bridge = cluster.bridge();
    ip(["link", "add", &bridge, "type", "bridge"])?;
    ip(["address", "add", &format!("{}/24", cluster.host()), "dev", &bridge])?;
    ip(["link", "set", &bridge, "up"])
}

/// Links a node whose first process waits for it, and routes what goes to its pods.
pub fn connect(cluster: &Cluster, node: &Node, pid: u32) -> Result<()> {
    let outside = node.interface.as_str();
    let netns = pid.to_string();
    ip(["link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", &netns])?;
    ip(["link", "set", outside, "master", &cluster.bridge(), "up"])?;
    let inside = |arguments: &[&str]| {
        Process::new("nsenter").args([&format!("--target={pid}"), "--net", "ip"]).args(arguments).run()
    };
    inside(&["link", "set", "lo", "up"])?;
    inside(&["address", "add", &format!("{}/24", node.address), "dev", "eth0"])?;
    inside(&["link", "set", "eth0", "up"])?;
    inside(&["route", "add", "default", "via", &cluster.host().to_string()])?;
    for other in cluster.all_nodes().filter(|other| other.index != node.index) {
        inside(&["route", "add", &other.pods, "via", &other.address.to_string()])?;
    }
    // After a reboot it is still there.
    ip(["route", "replace", &node.pods, "via", &node.address.to_string(), "dev", &cluster.bridge()])
}

/// Takes down what there is of it. Links into nodes go with the nodes; here are those of nodes that never began.
pub fn remove(cluster: &Cluster) -> Result<()> {
    for interface in cluster.all_nodes().map(|node| node.interface).chain([cluster.bridge()]) {
        let path = Path::new("/sys/class/net").join(&interface);
        // A link into a node that has just ended may go while we try.
        if path.exists()
            && let Err(error) = Process::new("ip").args(["link", "delete", &interface]).output()
            && path.exists()
        {
            return Err(error);
        }
    }
    Ok(())
}

fn ip<const N: usize>(arguments: [&str; N]) -> Result<()> {
    Process::new("ip").args(arguments).run()
}
