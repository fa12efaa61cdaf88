//! The pictures on the page: images by their position in a list, and the tiles that they are shown as.

use super::open::Opened;
use crate::Result;
use crate::audit::Lists;
use crate::data::{Image, evenly_spaced};
use crate::report::{self, Layout, Pictures};

/// Images that are looked at to see how large they are.
const LOOKED_AT: usize = 64;

/// Gives the image at a position of a list.
pub(super) type GetImage<'a> = Box<dyn Fn(usize) -> Result<Image> + Sync + 'a>;

/// Training and test images, where the runs are of images, and all of the same ones.
pub(super) fn images<'a>(opened: &'a [Opened], lists: &'a Lists) -> Option<[GetImage<'a>; 2]> {
    let seen = opened.first()?.seen()?;
    let same = |other: &Opened| {
        other.seen().is_some_and(|other| {
            other.train.digest() == seen.train.digest() && other.test.digest() == seen.test.digest()
        })
    };
    opened.iter().all(same).then(|| {
        let train = |at: usize| Ok(seen.train.get(lists.training[at].id)?.image);
        let test = |at: usize| Ok(seen.test.get(lists.queries[at].id)?.image);
        [Box::new(train) as GetImage, Box::new(test) as GetImage]
    })
}

/// Of the test images, the training images and the maps of every model, as far as there are any.
pub(super) fn all_pictures<'a>(
    audit: &report::Audit,
    images: Option<&'a [GetImage<'a>; 2]>,
    maps: &'a [GetImage<'a>],
) -> Result<Vec<Pictures<'a>>> {
    let mut lists = Vec::new();
    if let Some([train, test]) = images {
        lists.push(("test".to_owned(), audit.queries.len(), test));
        lists.push(("train".to_owned(), audit.training.len(), train));
    }
    for (at, map) in maps.iter().enumerate() {
        lists.push((format!("sensitivity-{at}"), audit.queries.len(), map));
    }
    (lists.into_iter())
        .map(|(name, count, get)| pictures(&name, count, get))
        .collect()
}

/// Tiles as large as most of some images are, evenly spaced.
fn pictures<'a>(name: &str, count: usize, get: &'a GetImage<'a>) -> Result<Pictures<'a>> {
    let mut longer = Vec::with_capacity(LOOKED_AT);
    for at in evenly_spaced(count, LOOKED_AT) {
        let image = get(at)?;
        longer.push(image.height.max(image.width));
    }
    longer.sort_unstable();
    let most = longer.get(longer.len() / 2).copied().unwrap_or(1);
    Ok(Pictures {
        layout: Layout::new(name, count, most),
        get,
    })
}
